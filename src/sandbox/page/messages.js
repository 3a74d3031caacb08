// @ts-check
import { avatar } from './avatar.js';
import { renderBlocks } from './block-kit.js';
import { el } from './dom.js';
import { renderFiles } from './files.js';
import { icon } from './icons.js';
import { renderMrkdwn } from './mrkdwn.js';
import { clock, dateOf, dayKey, dayName, fullTime } from './slack-time.js';

/** @typedef {import('../slack/person-interface.ts').SeenMessage} SeenMessage */
/** @typedef {import('./client-state.js').Note} Note */

/**
 * @typedef {object} MessageActions
 * @property {import('./mentions.js').Directory} directory
 * @property {readonly import('../slack/person-interface.ts').SeenUser[]} users
 * @property {(message: SeenMessage, action: { actionId: string, blockId?: string, choice?: import('../slack/person-interface.ts').InputState }, state: import('../slack/person-interface.ts').StateValues) => Promise<string | undefined>} click
 * @property {(message: SeenMessage, failure: string) => void} lost
 * @property {(message: SeenMessage) => void} dismiss
 * @property {(message: SeenMessage) => void} remove as an admin deletes it
 * @property {{ team: string, user: string }} person
 * @property {(note: Note) => void} dismissNote
 * @property {((message: SeenMessage) => void) | undefined} openThread undefined where the messages already are a thread
 */

/** Messages of one author within this time stand under one name. */
const SAME_BREATH_SECONDS = 300;

/** A list that follows its messages: what did not change keeps its element, and with it focus and selection. */
export class MessageList {
  /** @type {Map<string, { key: string, element: HTMLElement }>} */
  #shown = new Map();
  #list = el('ol', { class: 'message-list' });
  #scroller;

  /** @param {HTMLElement} scroller */
  constructor(scroller) {
    this.#scroller = scroller;
    scroller.tabIndex = 0;
    // A reader who was at the bottom stays there when something above it grows, or the window does.
    this.#scroller.addEventListener('scroll', () => {
      this.#pinned = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 40;
    });
    const follow = new ResizeObserver(() => {
      if (this.#pinned) scroller.scrollTop = scroller.scrollHeight;
    });
    follow.observe(scroller);
    follow.observe(this.#list);
  }

  #pinned = true;

  /** @param {HTMLElement | undefined} intro what stands above the first message */
  reset(intro) {
    this.#shown.clear();
    this.#list.replaceChildren();
    this.#pinned = true;
    this.#scroller.replaceChildren(...(intro === undefined ? [] : [intro]), this.#list);
  }

  /**
   * @param {SeenMessage[]} messages
   * @param {Note[]} notes
   * @param {MessageActions} actions
   */
  show(messages, notes, actions) {
    const rows = rowsOf(messages, notes);
    const kept = new Set(rows.map((row) => row.id));
    for (const [id, { element }] of this.#shown) {
      if (kept.has(id)) continue;
      element.remove();
      this.#shown.delete(id);
    }
    /** @type {Element | null} */
    let previous = null;
    for (const row of rows) {
      const before = this.#shown.get(row.id);
      let element = before?.element;
      if (before === undefined || element === undefined || before.key !== row.key) {
        element = row.render(actions);
        const focused = before === undefined ? undefined : focusedAction(before.element);
        if (before !== undefined) before.element.replaceWith(element);
        this.#shown.set(row.id, { key: row.key, element });
        if (focused !== undefined) refocus(element, focused);
      }
      /** @type {ChildNode | null} */
      const place = previous === null ? this.#list.firstChild : previous.nextSibling;
      if (place !== element) this.#list.insertBefore(element, place);
      previous = element;
    }
    if (this.#pinned) this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }
}

/** @typedef {{ id: string, key: string, render: (actions: MessageActions) => HTMLElement }} Row */

/** @param {SeenMessage[]} messages @param {Note[]} notes @returns {Row[]} */
function rowsOf(messages, notes) {
  const now = new Date();
  const entries = [
    ...messages.map((message) => ({ ts: message.ts, message, note: undefined })),
    ...notes.map((note) => ({ ts: note.ts, message: undefined, note })),
  ].sort((one, other) => (one.ts < other.ts ? -1 : 1));
  /** @type {Row[]} */
  const rows = [];
  /** @type {{ ts: string, message: SeenMessage | undefined } | undefined} */
  let last;
  for (const { ts, message, note } of entries) {
    const date = dateOf(ts);
    if (last === undefined || dayKey(dateOf(last.ts)) !== dayKey(date)) {
      const name = dayName(date, now);
      rows.push({ id: `day-${dayKey(date)}`, key: name, render: () => dayDivider(name) });
      last = undefined;
    }
    if (message !== undefined) {
      const joined = follows(last?.message, message);
      rows.push({
        id: message.ts,
        key: `${message.cursor}/${message.replyCount}/${joined}`,
        render: (actions) => renderMessage(message, joined, actions),
      });
    } else if (note !== undefined) {
      rows.push({ id: note.id, key: note.id, render: (actions) => renderNote(note, actions) });
    }
    last = { ts, message };
  }
  return rows;
}

/** @param {SeenMessage | undefined} before @param {SeenMessage} message */
function follows(before, message) {
  if (before === undefined || before.author.id !== message.author.id) return false;
  // A card stands for itself, with its own name and time.
  if (before.blocks.length > 0 || message.blocks.length > 0) return false;
  if (before.ephemeral || message.ephemeral || before.replyCount > 0) return false;
  return Number(message.ts) - Number(before.ts) < SAME_BREATH_SECONDS;
}

/** @param {string} name */
const dayDivider = (name) => el('li', { class: 'day' }, el('span', { class: 'day-name' }, name));

/** @param {SeenMessage} message @param {boolean} joined @param {MessageActions} actions */
function renderMessage(message, joined, actions) {
  const { author } = message;
  const date = dateOf(message.ts);
  const classes = ['message', joined && 'joined', message.ephemeral && 'ephemeral'].filter(Boolean).join(' ');
  const article = el('article', {
    class: classes,
    'data-ts': message.ts,
    'aria-label': `${author.name}, ${clock(date)}`,
  });
  if (message.ephemeral) {
    article.append(el('p', { class: 'ephemeral-mark' }, icon('eye'), 'Only visible to you'));
  }
  const gutter = joined
    ? el('time', { class: 'gutter-time', title: fullTime(date) }, clock(date))
    : avatar(author.id, author.name, author.kind);
  const body = el('div', { class: 'message-body' });
  if (!joined) body.append(byline(author, date));
  body.append(contentOf(message, actions));
  if (message.ephemeral) {
    const dismiss = el(
      'button',
      { type: 'button', class: 'text-button', onclick: () => actions.dismiss(message) },
      'Dismiss',
    );
    body.append(el('p', { class: 'ephemeral-foot' }, dismiss));
  }
  const { openThread } = actions;
  if (openThread !== undefined && message.replyCount > 0) {
    const label = message.replyCount === 1 ? '1 reply' : `${message.replyCount} replies`;
    body.append(
      el(
        'button',
        { type: 'button', class: 'thread-link', onclick: () => openThread(message) },
        icon('reply'),
        label,
      ),
    );
  }
  article.append(el('div', { class: 'gutter' }, gutter), body);
  if (!message.ephemeral) article.append(toolbar(message, actions));
  return el('li', {}, article);
}

/** @param {{ kind: 'person' | 'app' | 'slackbot', name: string }} author @param {Date} date */
function byline(author, date) {
  return el(
    'div',
    { class: 'byline' },
    el('span', { class: 'author' }, author.name),
    author.kind === 'person' ? null : el('span', { class: 'app-badge' }, 'App'),
    el('time', { class: 'time', title: fullTime(date), datetime: date.toISOString() }, clock(date)),
  );
}

/** @param {SeenMessage} message @param {MessageActions} actions */
function contentOf(message, actions) {
  const content = el('div', { class: 'content' });
  if (message.blocks.length === 0) {
    if (message.text !== '')
      content.append(el('div', { class: 'message-text' }, renderMrkdwn(message.text, actions.directory)));
  } else {
    /** @type {import('../slack/person-interface.ts').StateValues} */
    const state = {};
    content.append(
      renderBlocks(message.blocks, {
        name: `message-${message.ts}`,
        directory: actions.directory,
        users: actions.users,
        state,
        errors: {},
        act: (action) => actions.click(message, action, state),
        lost: (failure) => actions.lost(message, failure),
      }),
    );
  }
  if (message.files.length > 0) content.append(renderFiles(message.files, actions.person));
  if (message.editedTs !== undefined) {
    const title = fullTime(dateOf(message.editedTs));
    content.append(el('span', { class: 'edited', title }, '(edited)'));
  }
  return content;
}

/** @param {SeenMessage} message @param {MessageActions} actions */
function toolbar(message, { openThread, remove }) {
  const reply = openThread && toolButton('Reply in thread', 'reply', () => openThread(message));
  return el(
    'div',
    { class: 'toolbar' },
    reply,
    toolButton('Delete this message', 'bin', () => remove(message)),
  );
}

/** @param {string} label @param {'reply' | 'bin'} name @param {() => void} onclick */
const toolButton = (label, name, onclick) =>
  el(
    'button',
    { type: 'button', class: 'icon-button', 'aria-label': label, title: label, onclick },
    icon(name),
  );

/** @param {Note} note @param {MessageActions} actions */
function renderNote(note, actions) {
  const date = dateOf(note.ts);
  const dismiss = el(
    'button',
    { type: 'button', class: 'text-button', onclick: () => actions.dismissNote(note) },
    'Dismiss',
  );
  return el(
    'li',
    {},
    el(
      'article',
      { class: 'message ephemeral', 'data-note': note.id, 'aria-label': `Slackbot, ${clock(date)}` },
      el('p', { class: 'ephemeral-mark' }, icon('eye'), 'Only visible to you'),
      el('div', { class: 'gutter' }, avatar('USLACKBOT', 'Slackbot', 'slackbot')),
      el(
        'div',
        { class: 'message-body' },
        byline({ kind: 'slackbot', name: 'Slackbot' }, date),
        el('div', { class: 'message-text' }, note.text),
        el('p', { class: 'ephemeral-foot' }, dismiss),
      ),
    ),
  );
}

/** @param {HTMLElement} element */
function focusedAction(element) {
  const active = document.activeElement;
  return active instanceof HTMLElement && element.contains(active) ? active.dataset.actionId : undefined;
}

/** @param {HTMLElement} element @param {string} actionId */
function refocus(element, actionId) {
  const again = element.querySelector(`[data-action-id="${CSS.escape(actionId)}"]`);
  if (again instanceof HTMLElement) again.focus();
}
