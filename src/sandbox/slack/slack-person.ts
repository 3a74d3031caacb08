import type { z } from 'zod';
import {
  ActionAnswer,
  type BlockJson,
  ChannelsAnswer,
  type Click,
  HomeAnswer,
  type InputState,
  MessagesAnswer,
  PostAnswer,
  PERSON_ROUTES as ROUTES,
  type SeenChannel,
  type SeenMessage,
  type SeenUser,
  type SeenView,
  type StateValues,
  SubmitAnswer,
  UsersAnswer,
  ViewAnswer,
} from './person-interface.ts';

const POLL_MS = 25;
const WAIT_MS = 20_000;

/** A person in front of a Slack client, for the demo's story and the tests. It knows the person's interface and no more. */
export class SlackPerson {
  readonly team: string;
  readonly user: string;
  readonly #base: string;

  constructor(baseUrl: string, person: { team: string; user: string }) {
    this.#base = baseUrl;
    this.team = person.team;
    this.user = person.user;
  }

  /** Channels that this person is a member of. */
  async channels(): Promise<SeenChannel[]> {
    return seen(await this.#get(ROUTES.channels, ChannelsAnswer)).channels;
  }

  async users(): Promise<SeenUser[]> {
    return seen(await this.#get(ROUTES.users, UsersAnswer)).users;
  }

  /** Oldest first, thread replies included; with `since`, only what changed after that cursor. */
  async messages(channel: string, since?: number): Promise<SeenMessage[]> {
    const query = { channel, ...(since === undefined ? {} : { since: String(since) }) };
    return seen(await this.#get(ROUTES.messages, MessagesAnswer, query)).messages;
  }

  /** The modal on top, or null. */
  async openView(): Promise<SeenView | null> {
    return seen(await this.#get(ROUTES.view, ViewAnswer)).view;
  }

  async home(): Promise<SeenView | null> {
    return seen(await this.#get(ROUTES.home, HomeAnswer)).home;
  }

  /** Clicks a button of a message, a modal or the Home tab; its confirm dialog, if any, is taken as answered with yes. */
  click(
    on: SeenMessage | SeenView,
    actionId: string,
    more: { blockId?: string; choice?: InputState; state?: StateValues } = {},
  ): Promise<ActionAnswer> {
    const place: Click['on'] = 'ts' in on ? { channel: on.channel, message: on.ts } : { view: on.id };
    return this.#post(ROUTES.click, ActionAnswer, { on: place, actionId, ...more });
  }

  /**
   * Submits a modal. `values` are keyed by block id or action id: a text for a text input, else the input's state as
   * Slack writes it (`{ type: 'static_select', selected_option: … }`).
   */
  submit(view: SeenView, values: Record<string, string | InputState> = {}): Promise<SubmitAnswer> {
    return this.#post(ROUTES.submit, SubmitAnswer, { view: view.id, state: stateFor(view, values) });
  }

  closeView(view: SeenView, all = false): Promise<ActionAnswer> {
    return this.#post(ROUTES.closeView, ActionAnswer, { view: view.id, all });
  }

  /** Types a slash command: `command('/agent-writes off too many closes', 'C0ACMEAPP')`. */
  command(line: string, channel: string): Promise<ActionAnswer> {
    return this.#post(ROUTES.command, ActionAnswer, { channel, line });
  }

  post(channel: string, text: string, threadTs?: string): Promise<PostAnswer> {
    return this.#post(ROUTES.post, PostAnswer, {
      channel,
      text,
      ...(threadTs === undefined ? {} : { threadTs }),
    });
  }

  openHome(): Promise<ActionAnswer> {
    return this.#post(ROUTES.openHome, ActionAnswer, {});
  }

  /** The first message, oldest first, for which the predicate holds; throws when there is none in time. */
  waitForMessage(
    channel: string,
    predicate: (message: SeenMessage) => boolean,
    timeoutMs = WAIT_MS,
  ): Promise<SeenMessage> {
    return this.#wait(
      `the message in ${channel}`,
      async () => (await this.messages(channel)).find(predicate),
      timeoutMs,
    );
  }

  /** The modal, as soon as one is open for which the predicate holds. */
  waitForView(predicate: (view: SeenView) => boolean = () => true, timeoutMs = WAIT_MS): Promise<SeenView> {
    const look = async () => {
      const view = await this.openView();
      return view && predicate(view) ? view : undefined;
    };
    return this.#wait('the modal', look, timeoutMs);
  }

  async #wait<T>(what: string, look: () => Promise<T | undefined>, timeoutMs: number): Promise<T> {
    const until = performance.now() + timeoutMs;
    for (;;) {
      const found = await look();
      if (found !== undefined) return found;
      if (performance.now() > until)
        throw new NotSeenError(`${this.user} did not see ${what} within ${timeoutMs} ms.`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  async #get<Schema extends z.ZodType>(
    path: string,
    schema: Schema,
    query: Record<string, string> = {},
  ): Promise<z.infer<Schema>> {
    const search = new URLSearchParams({ team: this.team, user: this.user, ...query });
    const response = await fetch(`${this.#base}${path}?${search}`);
    return schema.parse(await response.json());
  }

  async #post<Schema extends z.ZodType>(
    path: string,
    schema: Schema,
    body: object,
  ): Promise<z.infer<Schema>> {
    const response = await fetch(`${this.#base}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ team: this.team, user: this.user, ...body }),
    });
    return schema.parse(await response.json());
  }
}

/** Whether it still asks for something. */
export function hasButtons(message: SeenMessage): boolean {
  return message.blocks.some(({ type }) => type === 'actions');
}

/** What a person waited for did not appear on his screen. */
export class NotSeenError extends Error {
  override readonly name = 'NotSeenError';
  readonly code = 'sandbox_not_seen';
}

/** A look that the client would not allow, such as into a channel that the person is not in. */
export class SightRefusedError extends Error {
  override readonly name = 'SightRefusedError';
  readonly code: string;

  constructor(error: string, text: string) {
    super(text);
    this.code = error;
  }
}

function seen<T extends { ok: boolean }>(answer: T): Extract<T, { ok: true }> {
  if (!answer.ok) {
    const { error, text } = answer as unknown as { error: string; text: string };
    throw new SightRefusedError(error, text);
  }
  return answer as Extract<T, { ok: true }>;
}

function stateFor(view: SeenView, values: Record<string, string | InputState>): StateValues {
  const state: StateValues = structuredClone(view.state);
  for (const [key, value] of Object.entries(values)) {
    const place = inputPlace(view.blocks, key);
    if (!place) throw new NotSeenError(`No input of this modal has the block id or action id ${key}.`);
    const given = typeof value === 'string' ? { type: place.type, value } : value;
    state[place.blockId] = { ...state[place.blockId], [place.actionId]: given };
  }
  return state;
}

function inputPlace(
  blocks: BlockJson[],
  key: string,
): { blockId: string; actionId: string; type: string } | undefined {
  for (const block of blocks) {
    if (block.type !== 'input' || block.block_id === undefined) continue;
    const element = block.element as { type: string; action_id: string };
    if (block.block_id === key || element.action_id === key) {
      return { blockId: block.block_id, actionId: element.action_id, type: element.type };
    }
  }
  return undefined;
}
