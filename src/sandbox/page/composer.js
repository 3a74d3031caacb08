// @ts-check
import { el } from './dom.js';
import { icon } from './icons.js';
import { escapeSlack } from './mrkdwn.js';

/** @typedef {import('../slack/person-interface.ts').SeenCommand} SeenCommand */

/**
 * @typedef {object} ComposerSettings
 * @property {string} name unique on the page
 * @property {string} placeholder
 * @property {string | undefined} closed why nothing can be written here; '' where there is nothing to say of it
 * @property {readonly SeenCommand[]} commands
 * @property {(text: string) => Promise<boolean>} send resolves to whether the text is gone and the box may be emptied
 */

/** The box in which the person writes: Enter sends, Shift+Enter is a new line, `/` offers the commands. */
export class Composer {
  #slot;
  #drafts = new Map();

  /** @param {HTMLElement} slot */
  constructor(slot) {
    this.#slot = slot;
  }

  focus() {
    this.#slot.querySelector('textarea')?.focus({ preventScroll: true });
  }

  /** @param {ComposerSettings} settings */
  show(settings) {
    if (settings.closed !== undefined) {
      const reason = el('p', { class: 'composer-closed' }, settings.closed);
      this.#slot.replaceChildren(...(settings.closed === '' ? [] : [reason]));
      return;
    }
    const hintId = `${settings.name}-commands`;
    const box = el('textarea', {
      class: 'composer-box',
      rows: 1,
      placeholder: settings.placeholder,
      'aria-label': settings.placeholder,
      'aria-controls': hintId,
      'aria-autocomplete': 'list',
    });
    box.value = this.#drafts.get(settings.name) ?? '';
    const send = el(
      'button',
      { type: 'submit', class: 'send-button', 'aria-label': 'Send', title: 'Send (Enter)' },
      icon('send'),
    );
    const hints = new CommandHints(hintId, box, settings.commands);
    const form = el('form', { class: 'composer' }, hints.element, box, send);
    const refresh = () => {
      this.#drafts.set(settings.name, box.value);
      send.disabled = box.value.trim() === '';
      box.style.height = 'auto';
      box.style.height = `${Math.min(box.scrollHeight, 200)}px`;
      hints.refresh();
    };
    box.addEventListener('input', refresh);
    box.addEventListener('blur', () => hints.hide());
    box.addEventListener('focus', () => hints.refresh());
    box.addEventListener('keydown', (event) => {
      if (hints.handle(event)) return;
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      const text = box.value;
      if (text.trim() === '') return;
      // The box is free at once, as in Slack; what could not be sent comes back unless something new stands there.
      box.value = '';
      refresh();
      if (!(await settings.send(text)) && box.value === '') {
        box.value = text;
        refresh();
      }
    });
    this.#slot.replaceChildren(
      form,
      el(
        'p',
        { class: 'composer-help' },
        el('b', {}, 'Enter'),
        ' sends · ',
        el('b', {}, '/'),
        ' for commands',
      ),
    );
    refresh();
    hints.hide();
  }
}

/** The commands that fit what is typed so far. Tab completes the marked one; Enter does while the name is incomplete. */
class CommandHints {
  #box;
  #commands;
  #at = 0;
  /** @type {SeenCommand[]} */
  #fitting = [];

  /** @param {string} id @param {HTMLTextAreaElement} box @param {readonly SeenCommand[]} commands */
  constructor(id, box, commands) {
    this.element = el('ul', {
      class: 'command-hints',
      id,
      role: 'listbox',
      'aria-label': 'Commands',
      hidden: true,
    });
    this.#box = box;
    this.#commands = commands;
  }

  refresh() {
    const typed = this.#box.value;
    const name = typed.split(/\s/)[0] ?? '';
    this.#fitting = typed.startsWith('/')
      ? this.#commands.filter((command) =>
          typed === name ? command.command.startsWith(name) : command.command === name,
        )
      : [];
    this.#at = 0;
    this.#render();
  }

  hide() {
    this.#fitting = [];
    this.#render();
  }

  /** @param {KeyboardEvent} event @returns {boolean} whether it was for the list */
  handle(event) {
    const marked = this.#fitting[this.#at];
    if (marked === undefined) return false;
    const complete = this.#box.value.startsWith(`${marked.command} `) || this.#box.value === marked.command;
    if (event.key === 'Escape') {
      this.hide();
    } else if (event.key === 'Tab' || (event.key === 'Enter' && !complete)) {
      this.#complete(marked);
    } else if ((event.key === 'ArrowDown' || event.key === 'ArrowUp') && this.#fitting.length > 1) {
      this.#at =
        (this.#at + (event.key === 'ArrowDown' ? 1 : -1) + this.#fitting.length) % this.#fitting.length;
      this.#render();
    } else {
      return false;
    }
    event.preventDefault();
    return true;
  }

  /** @param {SeenCommand} command */
  #complete(command) {
    if (!this.#box.value.startsWith(`${command.command} `)) this.#box.value = `${command.command} `;
    this.#box.dispatchEvent(new Event('input'));
  }

  #render() {
    this.element.hidden = this.#fitting.length === 0;
    this.element.replaceChildren(
      ...this.#fitting.map((command, index) =>
        el(
          'li',
          {
            class: 'command-hint',
            role: 'option',
            'aria-selected': String(index === this.#at),
            // The box keeps the focus: a blur would hide the list before the click arrives.
            onmousedown: (event) => {
              event.preventDefault();
              this.#complete(command);
            },
          },
          el('span', { class: 'command-name' }, command.command),
          el('span', { class: 'command-usage' }, command.usageHint),
          el('span', { class: 'command-description' }, command.description),
        ),
      ),
    );
  }
}

/**
 * What Slack's client makes of typed text: the three escapes, and ids for the names it knows.
 *
 * @param {string} text
 * @param {readonly import('../slack/person-interface.ts').SeenUser[]} users
 */
export function outgoing(text, users) {
  const groups = new Map(users.flatMap((user) => user.groups.map((group) => [group.handle, group.id])));
  return escapeSlack(text).replace(/(^|[\s(])@([a-z0-9._-]*[a-z0-9])/gi, (written, before, name) => {
    const user = users.find((candidate) => candidate.name === name);
    if (user !== undefined) return `${before}<@${user.id}>`;
    const group = groups.get(name);
    if (group !== undefined) return `${before}<!subteam^${group}>`;
    return /^(here|channel|everyone)$/.test(name) ? `${before}<!${name}>` : written;
  });
}
