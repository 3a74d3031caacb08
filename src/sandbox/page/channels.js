// @ts-check
import { avatar } from './avatar.js';
import { el } from './dom.js';
import { icon } from './icons.js';

/** What `ClientState.open` says while the app's Home tab is before the person. */
export const HOME = 'home';

/**
 * @param {HTMLElement} sidebar
 * @param {import('./client-state.js').ClientState} state
 * @param {(open: string) => void} choose
 */
export function renderChannels(sidebar, state, choose) {
  const { app } = state.workspace;
  sidebar.replaceChildren(
    el('h1', { class: 'workspace-name' }, state.workspace.name),
    el('h2', { class: 'sidebar-title' }, 'Channels'),
    el(
      'ul',
      { class: 'sidebar-list' },
      ...state.channels.map((channel) => el('li', {}, channelRow(channel, state, choose))),
    ),
    ...(app === undefined
      ? []
      : [
          el('h2', { class: 'sidebar-title' }, 'Apps'),
          el('ul', { class: 'sidebar-list' }, el('li', {}, appRow(app, state.open === HOME, choose))),
        ]),
  );
}

/**
 * @param {import('../slack/person-interface.ts').SeenChannel} channel
 * @param {import('./client-state.js').ClientState} state
 * @param {(open: string) => void} choose
 */
function channelRow(channel, state, choose) {
  const open = channel.id === state.open;
  const unread = open ? 0 : state.unread(channel.id);
  return el(
    'button',
    {
      type: 'button',
      class: unread > 0 ? 'sidebar-row unread' : 'sidebar-row',
      'aria-current': open ? 'page' : undefined,
      'aria-label': unread > 0 ? `${channel.name}, ${unread} unread` : channel.name,
      'data-channel': channel.id,
      onclick: () => choose(channel.id),
    },
    icon(channel.isPrivate ? 'lock' : 'hash'),
    el('span', { class: 'sidebar-name' }, channel.name),
    channel.isExtShared
      ? el('span', { class: 'sidebar-mark', title: 'Shared with another company' }, icon('link'))
      : null,
    unread > 0 ? el('span', { class: 'unread-count' }, unread > 99 ? '99+' : String(unread)) : null,
  );
}

/**
 * @param {{ id: string, name: string }} app
 * @param {boolean} open
 * @param {(open: string) => void} choose
 */
function appRow(app, open, choose) {
  return el(
    'button',
    {
      type: 'button',
      class: 'sidebar-row',
      'aria-current': open ? 'page' : undefined,
      onclick: () => choose(HOME),
    },
    avatar(app.id, app.name, 'app'),
    el('span', { class: 'sidebar-name' }, app.name),
  );
}

/**
 * @param {HTMLElement} header
 * @param {import('./client-state.js').ClientState} state
 */
export function renderChannelHeader(header, state) {
  if (state.open === HOME) {
    const name = state.workspace.app?.name ?? 'App';
    header.replaceChildren(
      el('h2', { class: 'channel-title' }, icon('home'), name),
      el('p', { class: 'channel-topic' }, 'What the app shows to you alone'),
    );
    return;
  }
  const { channel } = state;
  if (channel === undefined) return header.replaceChildren();
  const people = channel.members.length;
  header.replaceChildren(
    el('h2', { class: 'channel-title' }, icon(channel.isPrivate ? 'lock' : 'hash'), channel.name),
    el('p', { class: 'channel-topic', title: channel.topic }, channel.topic),
    channel.isExtShared ? el('span', { class: 'badge warn' }, 'shared with another company') : '',
    channel.isArchived ? el('span', { class: 'badge' }, 'archived') : '',
    el('span', { class: 'member-count', title: `${people} members` }, icon('people'), String(people)),
  );
}

/** What stands above a channel's first message. @param {import('../slack/person-interface.ts').SeenChannel} channel */
export function channelIntro(channel) {
  return el(
    'div',
    { class: 'intro' },
    el('span', { class: 'intro-icon' }, icon(channel.isPrivate ? 'lock' : 'hash')),
    el('h3', { class: 'intro-title' }, `This is the beginning of #${channel.name}`),
    el('p', { class: 'intro-topic' }, channel.topic),
  );
}
