// @ts-check

/** @typedef {import('../slack/person-interface.ts').SeenMessage} SeenMessage */
/** @typedef {import('../slack/person-interface.ts').SeenChannel} SeenChannel */
/** @typedef {import('../slack/person-interface.ts').SeenUser} SeenUser */
/** @typedef {import('../slack/person-interface.ts').SeenWorkspace} SeenWorkspace */
/** @typedef {import('../slack/person-interface.ts').SeenCommand} SeenCommand */
/** @typedef {import('../slack/person-interface.ts').SeenView} SeenView */

/** A line that the client itself wrote, as Slackbot does: it exists on this page alone. @typedef {{ id: string, ts: string, text: string, threadTs?: string }} Note */

/** All that one person's client knows at the moment. A new person, or a new workspace, means a new one of these. */
export class ClientState {
  /** @type {SeenUser[]} */
  users = [];
  /** @type {SeenCommand[]} */
  commands = [];
  /** @type {SeenChannel[]} */
  channels = [];
  /** @type {SeenView | null} */
  home = null;
  /** Open channel's id, or `home` for the app's Home tab. */
  open = '';
  /** @type {string | undefined} */
  thread;
  /** @type {Map<string, Map<string, SeenMessage>>} */
  #messages = new Map();
  /** @type {Map<string, Note[]>} */
  #notes = new Map();
  #dismissed = new Set();
  /** @type {Map<string, string>} */
  #read = new Map();
  #noteCount = 0;

  /** @param {SeenWorkspace} workspace @param {string} me */
  constructor(workspace, me) {
    this.workspace = workspace;
    this.me = me;
  }

  get team() {
    return this.workspace.team;
  }

  get person() {
    return { team: this.workspace.team, user: this.me };
  }

  /** @param {string} id */
  user(id) {
    return this.users.find((user) => user.id === id);
  }

  get channel() {
    return this.channels.find((channel) => channel.id === this.open);
  }

  /** @param {SeenMessage} message */
  put(message) {
    const messages = this.#messages.get(message.channel) ?? new Map();
    this.#messages.set(message.channel, messages.set(message.ts, message));
  }

  /** @param {string} channel @param {string} ts */
  remove(channel, ts) {
    this.#messages.get(channel)?.delete(ts);
  }

  /** @param {string} channel @param {string} ts */
  dismiss(channel, ts) {
    this.#dismissed.add(`${channel}/${ts}`);
  }

  /** @param {string} channel @param {string} text @param {string | undefined} threadTs */
  note(channel, text, threadTs) {
    const notes = this.#notes.get(channel) ?? [];
    this.#noteCount += 1;
    const ts = (Date.now() / 1000).toFixed(6);
    notes.push({ id: `note-${this.#noteCount}`, ts, text, ...(threadTs === undefined ? {} : { threadTs }) });
    this.#notes.set(channel, notes);
  }

  /** @param {string} channel @param {string} id */
  dropNote(channel, id) {
    this.#notes.set(
      channel,
      (this.#notes.get(channel) ?? []).filter((note) => note.id !== id),
    );
  }

  /** What stands in the channel itself, oldest first: no replies. @param {string} channel */
  inChannel(channel) {
    return this.#visible(channel).filter(
      (message) => message.threadTs === undefined || message.threadTs === message.ts,
    );
  }

  /** The parent and its replies. @param {string} channel @param {string} threadTs */
  inThread(channel, threadTs) {
    return this.#visible(channel).filter(
      (message) => message.ts === threadTs || message.threadTs === threadTs,
    );
  }

  /** @param {string} channel @param {string | undefined} threadTs */
  notes(channel, threadTs) {
    return (this.#notes.get(channel) ?? []).filter((note) => note.threadTs === threadTs);
  }

  /** @param {string} channel */
  markRead(channel) {
    this.#read.set(channel, this.inChannel(channel).at(-1)?.ts ?? '');
  }

  /** @param {string} channel */
  unread(channel) {
    const read = this.#read.get(channel) ?? '';
    return this.inChannel(channel).filter((message) => message.ts > read && message.author.id !== this.me)
      .length;
  }

  /** @param {string} channel @returns {SeenMessage[]} */
  #visible(channel) {
    return [...(this.#messages.get(channel)?.values() ?? [])]
      .filter((message) => !this.#dismissed.has(`${channel}/${message.ts}`))
      .sort((one, other) => (one.ts < other.ts ? -1 : 1));
  }
}
