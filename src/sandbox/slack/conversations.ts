import type { Block } from './block-kit.ts';
import type { SlackFile } from './file-shelf.ts';
import type { LiveEvents } from './live-events.ts';
import type { SandboxClock } from './sandbox-clock.ts';

export interface Author {
  kind: 'person' | 'app';
  user: string;
}

export interface Message {
  team: string;
  channel: string;
  ts: string;
  threadTs?: string;
  author: Author;
  text: string;
  blocks: Block[];
  metadata?: unknown;
  files?: SlackFile[];
  editedTs?: string;
  /** The only person who sees it. */
  ephemeralFor?: string;
  deleted: boolean;
  cursor: number;
}

export type Draft = Pick<Message, 'team' | 'channel' | 'author' | 'text' | 'blocks'> &
  Partial<Pick<Message, 'threadTs' | 'metadata' | 'files' | 'ephemeralFor'>>;

/** Every message of every channel, oldest first. Deleted ones stay as tombstones so that `since` can name them. */
export class Conversations {
  readonly #clock: SandboxClock;
  readonly #live: LiveEvents;
  readonly #channels = new Map<string, Message[]>();
  #lastMicros = 0;

  constructor(clock: SandboxClock, live: LiveEvents) {
    this.#clock = clock;
    this.#live = live;
  }

  post(draft: Draft): Message {
    const message: Message = { ...draft, ts: this.newTs(), deleted: false, cursor: 0 };
    const key = `${draft.team}/${draft.channel}`;
    const messages = this.#channels.get(key);
    if (messages) messages.push(message);
    else this.#channels.set(key, [message]);
    this.#live.publish({ kind: 'message', message });
    const parent =
      draft.threadTs === undefined ? undefined : this.find(draft.team, draft.channel, draft.threadTs);
    // An ephemeral reply must not stir the parent before other people's eyes.
    if (parent && draft.ephemeralFor === undefined) this.#live.publish({ kind: 'message', message: parent });
    return message;
  }

  edit(message: Message, change: Partial<Pick<Message, 'text' | 'blocks' | 'metadata'>>): void {
    Object.assign(message, change);
    message.editedTs = this.newTs();
    this.#live.publish({ kind: 'message', message });
  }

  remove(message: Message): void {
    message.deleted = true;
    this.#live.publish({ kind: 'message_deleted', message });
  }

  find(team: string, channel: string, ts: string): Message | undefined {
    return this.list(team, channel).find((message) => message.ts === ts);
  }

  list(team: string, channel: string): Message[] {
    return this.all(team, channel).filter((message) => !message.deleted);
  }

  /** Tombstones included. */
  all(team: string, channel: string): Message[] {
    return this.#channels.get(`${team}/${channel}`) ?? [];
  }

  replies(parent: Message): Message[] {
    return this.list(parent.team, parent.channel).filter((message) => message.threadTs === parent.ts);
  }

  /** A message's id: seconds and microseconds, unique on this server. */
  newTs(): string {
    this.#lastMicros = Math.max(this.#lastMicros + 1, Math.floor(this.#clock.now()) * 1000);
    const digits = String(this.#lastMicros);
    return `${digits.slice(0, -6)}.${digits.slice(-6)}`;
  }
}

export function isVisibleTo(message: Message, user: string): boolean {
  return message.ephemeralFor === undefined || message.ephemeralFor === user;
}
