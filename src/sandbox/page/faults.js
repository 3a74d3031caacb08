// @ts-check
import { el } from './dom.js';
import { icon } from './icons.js';
import { act, read } from './slack-client.js';

/** @typedef {import('../slack/person-interface.ts').FaultWish} FaultWish */
/** @typedef {import('../slack/person-interface.ts').SeenFault} SeenFault */
/** @typedef {import('../slack/person-interface.ts').SeenChannel} SeenChannel */

/** @type {{ wish: FaultWish, label: string, text: string }[]} */
const FAULTS = [
  {
    wish: { kind: 'deliver_twice' },
    label: 'Deliver the next click twice',
    text: 'As a network does that is not sure whether it arrived.',
  },
  {
    wish: { kind: 'lose_reply', method: 'chat.postMessage' },
    label: 'Lose the reply of the next post',
    text: 'The message is posted, and the app never hears so.',
  },
  {
    wish: { kind: 'rate_limit', ms: 10_000 },
    label: 'Too many calls for 10 s',
    text: 'Every call of the app is answered with 429.',
  },
  {
    wish: { kind: 'down', ms: 20_000 },
    label: 'Slack is down for 20 s',
    text: 'Every call is answered with 503, no click arrives, and every connection breaks.',
  },
];

/** @type {{ key: 'archived' | 'botIn' | 'shared', done: string, undo: string, is: (channel: SeenChannel, bot: string) => boolean }[]} */
const CHANGES = [
  {
    key: 'archived',
    done: 'Archive the channel',
    undo: 'Open the channel again',
    is: (channel) => channel.isArchived,
  },
  {
    key: 'botIn',
    done: 'Remove the bot from the channel',
    undo: 'Invite the bot again',
    is: (channel, bot) => !channel.members.includes(bot),
  },
  {
    key: 'shared',
    done: 'Share the channel with another company',
    undo: 'Stop sharing the channel',
    is: (channel) => channel.isExtShared,
  },
];

/** What can go wrong, on demand: collapsed under its button, which says how much is going wrong now. */
export class FaultPanel {
  #button;
  #panel;
  #list = el('ul', { class: 'fault-list' });
  #places = el('div', { class: 'fault-places' });
  #said = el('p', { class: 'fault-said', role: 'status' });
  /** With the moment of this page's clock at which each ends. @type {{ fault: SeenFault, until: number | undefined }[]} */
  #active = [];
  /** @type {{ team: string, bot: string | undefined, channel: SeenChannel | undefined }} */
  #place = { team: '', bot: undefined, channel: undefined };
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;

  /** @param {HTMLElement} button @param {HTMLElement} panel */
  constructor(button, panel) {
    this.#button = button;
    this.#panel = panel;
    panel.replaceChildren(
      el('h2', { class: 'panel-title' }, 'Faults'),
      el(
        'p',
        { class: 'fault-hint' },
        'Make the network, Slack or the people misbehave, and see what the app does.',
      ),
      this.#list,
      this.#places,
      this.#said,
    );
    button.addEventListener('click', () => this.#open(panel.hidden === true));
    panel.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape') return;
      this.#open(false);
      button.focus();
    });
    this.#draw();
    void this.refresh();
  }

  /** @param {{ team: string, bot: string | undefined, channel: SeenChannel | undefined }} place */
  at(place) {
    this.#place = place;
    this.#drawPlaces();
  }

  /** Reads what is active; the time that is left runs on this page's own clock. */
  async refresh() {
    const seen = await read('faults');
    if (!seen.ok) return;
    const now = performance.now();
    this.#active = seen.active.map((fault) => ({
      fault,
      until: 'remainingMs' in fault ? now + fault.remainingMs : undefined,
    }));
    this.#draw();
    clearInterval(this.#timer);
    if (this.#active.some(({ until }) => until !== undefined))
      this.#timer = setInterval(() => this.#tick(), 250);
  }

  #tick() {
    const now = performance.now();
    const left = this.#active.filter(({ until }) => until === undefined || until > now);
    if (left.length < this.#active.length) return void this.refresh();
    this.#draw();
  }

  /** @param {boolean} open */
  #open(open) {
    this.#panel.hidden = !open;
    this.#button.setAttribute('aria-expanded', String(open));
    if (open) this.#panel.querySelector('button')?.focus();
  }

  #draw() {
    const count = this.#active.length;
    const label = count === 0 ? 'Faults' : `Faults: ${count} active`;
    if (this.#button.textContent !== label) this.#button.textContent = label;
    this.#button.classList.toggle('active', count > 0);
    if (this.#list.childElementCount === 0) {
      this.#list.append(...FAULTS.map((fault) => this.#row(fault)), this.#endRow());
    }
    for (const [index, fault] of FAULTS.entries()) {
      const state = this.#list.children[index]?.querySelector('.fault-state');
      const said = this.#stateOf(fault.wish.kind);
      if (state && state.textContent !== said) state.textContent = said;
    }
    const end = this.#list.querySelector('.fault-end');
    if (!(end instanceof HTMLElement)) return;
    // Who ended them with the keyboard must not lose his place with the button.
    if (count === 0 && end.contains(document.activeElement)) this.#list.querySelector('button')?.focus();
    end.hidden = count === 0;
  }

  /** @param {string} kind */
  #stateOf(kind) {
    const found = this.#active.filter(({ fault }) => fault.kind === kind);
    const [first] = found;
    if (first === undefined) return '';
    if (first.until !== undefined) {
      return `active: ${Math.max(1, Math.ceil((first.until - performance.now()) / 1000))} s left`;
    }
    const times = 'left' in first.fault ? first.fault.left : found.length;
    return times === 1 ? 'active: waits for the next one' : `active: waits for the next ${times}`;
  }

  /** @param {{ wish: FaultWish, label: string, text: string }} fault */
  #row({ wish, label, text }) {
    return el(
      'li',
      { class: 'fault' },
      el(
        'button',
        {
          type: 'button',
          class: 'button fault-button',
          'data-fault': wish.kind,
          onclick: () => void this.#bring(wish, label),
        },
        label,
      ),
      el('p', { class: 'fault-text' }, text, ' ', el('span', { class: 'fault-state' })),
    );
  }

  #endRow() {
    return el(
      'li',
      { class: 'fault fault-end', hidden: true },
      el(
        'button',
        {
          type: 'button',
          class: 'text-button',
          'data-fault': 'clear',
          onclick: () => void this.#bring({ kind: 'clear' }, 'Everything works again'),
        },
        'End these faults now',
      ),
    );
  }

  #drawPlaces() {
    const { team, bot, channel } = this.#place;
    if (channel === undefined) return this.#places.replaceChildren();
    const focused =
      document.activeElement instanceof HTMLElement ? document.activeElement.dataset.fault : undefined;
    this.#places.replaceChildren(
      el('h3', { class: 'fault-title' }, `What people do in #${channel.name}`),
      ...CHANGES.filter(({ key }) => key !== 'botIn' || bot !== undefined).map(({ key, done, undo, is }) => {
        const now = is(channel, bot ?? '');
        const wanted = key === 'botIn' ? now : !now;
        const label = now ? undo : done;
        return el(
          'button',
          {
            type: 'button',
            class: now ? 'button fault-button is-done' : 'button fault-button',
            'data-fault': key,
            onclick: () =>
              void this.#bring({ kind: 'channel', team, channel: channel.id, [key]: wanted }, label),
          },
          now ? icon('back') : null,
          label,
        );
      }),
      el('p', { class: 'fault-text' }, 'Messages are deleted one by one: with the bin beside each.'),
    );
    const again = focused && this.#places.querySelector(`[data-fault="${CSS.escape(focused)}"]`);
    if (again instanceof HTMLElement) again.focus();
  }

  /** @param {FaultWish} wish @param {string} label */
  async #bring(wish, label) {
    const answer = await act('faults', wish);
    this.#said.textContent = answer.ok ? `Done: ${label}.` : answer.text;
    await this.refresh();
  }
}
