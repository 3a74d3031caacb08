// @ts-check
import { Composer } from './composer.js';
import { closeButton } from './controls.js';
import { el } from './dom.js';
import { MessageList } from './messages.js';

/** The panel beside the channel: a message and its replies. */
export class ThreadPanel {
  #panel;
  #scroller = el('div', { class: 'messages thread-messages' });
  #slot = el('div', { class: 'composer-slot' });
  #list = new MessageList(this.#scroller);
  #composer = new Composer(this.#slot);
  #where = el('p', { class: 'panel-subtitle' });
  #open = '';

  /** @param {HTMLElement} panel @param {() => void} close */
  constructor(panel, close) {
    this.#panel = panel;
    const head = el(
      'header',
      { class: 'panel-header' },
      el('h2', { class: 'panel-title' }, 'Thread'),
      this.#where,
      closeButton('Close the thread', close),
    );
    panel.replaceChildren(head, this.#scroller, this.#slot);
    panel.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && !event.defaultPrevented) close();
    });
  }

  /**
   * @param {import('./client-state.js').ClientState} state
   * @param {import('./messages.js').MessageActions} actions
   * @param {import('./composer.js').ComposerSettings} composer
   */
  show(state, actions, composer) {
    const { thread, channel } = state;
    this.#panel.hidden = thread === undefined || channel === undefined;
    const key = `${state.me}/${state.open}/${thread ?? ''}`;
    const isNew = key !== this.#open;
    this.#open = key;
    if (thread === undefined || channel === undefined) return;
    this.#where.textContent = `#${channel.name}`;
    if (isNew) this.#list.reset(undefined);
    this.#list.show(state.inThread(channel.id, thread), state.notes(channel.id, thread), actions);
    if (!isNew) return;
    this.#composer.show(composer);
    this.#composer.focus();
  }
}
