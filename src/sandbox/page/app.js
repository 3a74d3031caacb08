// @ts-check
import { renderActingUser } from './acting-user.js';
import { renderBlocks } from './block-kit.js';
import { channelIntro, HOME, renderChannelHeader, renderChannels } from './channels.js';
import { ClientState } from './client-state.js';
import { Composer, outgoing } from './composer.js';
import { confirmed } from './confirm.js';
import { byId, el } from './dom.js';
import { FaultPanel } from './faults.js';
import { MessageList } from './messages.js';
import { Modal } from './modal.js';
import { plainMrkdwn } from './mrkdwn.js';
import { act, listen, read } from './slack-client.js';
import { followTally } from './tally.js';
import { followTheme } from './theme.js';
import { ThreadPanel } from './thread.js';
import { renderWorkspaces } from './workspaces.js';

/** @typedef {import('../slack/person-interface.ts').PersonEvent} PersonEvent */
/** @typedef {import('../slack/person-interface.ts').SeenMessage} SeenMessage */
/** @typedef {import('../slack/person-interface.ts').SeenView} SeenView */
/** @typedef {import('../slack/person-interface.ts').SeenWorkspace} SeenWorkspace */
/** @typedef {import('./mentions.js').Directory} Directory */

/** @type {SeenWorkspace[]} */
let workspaces = [];
/** @type {ClientState | undefined} */
let current;
/** Counts who sat down: an answer to somebody who has left since is dropped. */
let seat = 0;
let stopListening = () => {};

const scroller = byId('messages');
const list = new MessageList(scroller);
const composer = new Composer(byId('composer'));
const faults = new FaultPanel(byId('faults-button'), byId('faults'));
const thread = new ThreadPanel(byId('thread'), closeThread);
const modal = new Modal({
  directory: () => directoryOf(current),
  users: () => current?.users ?? [],
  submit: submitView,
  close: closeView,
  click: (view, action, state) =>
    failureOf(act('click', { ...current?.person, on: { view: view.id }, ...action, state })),
});

/** What Slack asks a person who deletes a message. */
const DELETE = {
  title: { type: 'plain_text', text: 'Delete message' },
  text: { type: 'plain_text', text: 'It is gone for everybody. The app is not told.' },
  confirm: { type: 'plain_text', text: 'Delete' },
  deny: { type: 'plain_text', text: 'Cancel' },
  style: 'danger',
};

followTheme(byId('theme'));
followTally(byId('tally'), showSide);
void start();

/* ---- who is before the screen ---- */

async function start() {
  const answer = await read('workspaces');
  if (!answer.ok) {
    showConnection(false);
    setTimeout(start, 1000);
    return;
  }
  workspaces = answer.workspaces;
  const asked = new URLSearchParams(location.search);
  const team = workspaces.find((workspace) => workspace.team === asked.get('team')) ?? workspaces[0];
  if (team === undefined) return;
  await become(team, asked.get('user') ?? undefined, asked.get('channel') ?? undefined);
}

/**
 * Sits down as `user` before `workspace`: everything is read anew, since another person sees other things.
 *
 * @param {SeenWorkspace} workspace
 * @param {string} [asked]
 * @param {string} [open]
 */
async function become(workspace, asked, open) {
  seat += 1;
  const mine = seat;
  stopListening();
  modal.show(null);
  const { team } = workspace;
  const people = await read('users', { team });
  const users = people.ok ? people.users : [];
  const acting = users.filter((user) => user.canAct);
  const me = acting.find((user) => user.id === asked) ?? acting[0];
  if (me === undefined || mine !== seat) return;
  const state = new ClientState(workspace, me.id);
  state.users = users;
  current = state;
  const cursor = await load(state);
  if (current !== state) return;
  state.open =
    state.channels.some((channel) => channel.id === open) || open === HOME
      ? (open ?? '')
      : (state.channels[0]?.id ?? '');
  showEverything(state);
  stopListening = listen(state.person, cursor, {
    event: (event) => current === state && happened(state, event),
    connected: showConnection,
  });
  if (state.open === HOME) void openHome(state);
}

/** @param {ClientState} state @returns {Promise<number>} the cursor from which events are missing */
async function load(state) {
  const { person } = state;
  const [channels, commands, view] = await Promise.all([
    read('channels', person),
    read('commands', { team: state.team }),
    read('view', person),
  ]);
  state.channels = channels.ok ? channels.channels : [];
  state.commands = commands.ok ? commands.commands : [];
  await Promise.all(
    state.channels.map(async ({ id }) => {
      const seen = await read('messages', { ...person, channel: id });
      if (seen.ok) for (const message of seen.messages) state.put(message);
    }),
  );
  if (current === state) modal.show(view.ok ? view.view : null);
  // The oldest of the cursors: an event that is heard twice changes nothing.
  return channels.ok ? channels.cursor : 0;
}

/** @param {ClientState | undefined} state @returns {Directory} */
function directoryOf(state) {
  return {
    me: state?.me ?? '',
    userName: (id) => state?.user(id)?.realName,
    channelName: (id) => state?.channels.find((channel) => channel.id === id)?.name,
    group: (id) => {
      const group = state?.users.flatMap((user) => user.groups).find((candidate) => candidate.id === id);
      const mine = state?.user(state.me)?.groups.some((candidate) => candidate.id === id) === true;
      return group === undefined ? undefined : { handle: group.handle, mine };
    },
    openChannel: (id) => state !== undefined && openChannel(state, id),
  };
}

/* ---- what happens ---- */

/** @param {ClientState} state @param {PersonEvent} event */
function happened(state, event) {
  switch (event.kind) {
    case 'hello':
      return;
    case 'reset':
      return void become(state.workspace, state.me, state.open);
    case 'message':
      announce(state, event.message);
      state.put(event.message);
      return showMessages(state);
    case 'message_deleted':
      state.remove(event.channel, event.ts);
      return showMessages(state);
    case 'view':
      return modal.show(event.view);
    case 'home':
      state.home = event.home;
      if (state.open === HOME) showMessages(state);
      return;
    case 'channel':
      state.channels = state.channels.map((channel) =>
        channel.id === event.channel.id ? event.channel : channel,
      );
      showComposer(state);
      if (state.thread !== undefined) showThread(state);
      return showMessages(state);
    case 'faults':
      void faults.refresh();
  }
}

/** @param {ClientState} state @param {SeenMessage} message */
function announce(state, message) {
  const known = state
    .inThread(message.channel, message.threadTs ?? message.ts)
    .some((seen) => seen.ts === message.ts);
  if (known || message.channel !== state.open || message.author.id === state.me) return;
  const line = el('span', {}, `${message.author.name}: ${plainMrkdwn(message.text, directoryOf(state))}`);
  byId('announcer').replaceChildren(line);
}

/** @param {boolean} connected */
function showConnection(connected) {
  const line = byId('connection');
  line.hidden = connected;
  line.textContent = connected ? '' : 'Reconnecting to the local Slack …';
}

/* ---- what is shown ---- */

/** @param {ClientState} state */
function showEverything(state) {
  renderWorkspaces(byId('workspaces'), workspaces, state.team, (team) => {
    const workspace = workspaces.find((candidate) => candidate.team === team);
    if (workspace !== undefined && team !== current?.team) void become(workspace);
  });
  renderActingUser(
    byId('acting'),
    state.users,
    state.me,
    (user) => void become(state.workspace, user, state.open),
  );
  const { channel } = state;
  list.reset(channel === undefined ? undefined : channelIntro(channel));
  showComposer(state);
  showMessages(state);
  showThread(state);
  remember(state);
}

/** @param {ClientState} state */
function showComposer(state) {
  const { channel } = state;
  composer.show({
    name: `${state.me}-${state.open}`,
    placeholder: channel === undefined ? 'Message' : `Message #${channel.name}`,
    closed: closedReason(state),
    commands: state.commands,
    send: (text) => send(state, text, undefined),
  });
}

/** @param {ClientState} state */
function closedReason(state) {
  const { channel } = state;
  if (channel === undefined) return state.open === HOME ? '' : 'No channel is open.';
  if (channel.isArchived) return 'This channel is archived: it can be read, and nothing more.';
  return channel.members.includes(state.me) ? undefined : `You are not a member of #${channel.name}.`;
}

/** @param {ClientState} state */
function showMessages(state) {
  if (state.open === HOME) {
    showHome(state);
  } else {
    list.show(
      state.inChannel(state.open),
      state.notes(state.open, undefined),
      actionsIn(state, (message) => openThread(state, message)),
    );
    state.markRead(state.open);
  }
  renderChannelHeader(byId('channel-header'), state);
  faults.at({ team: state.team, bot: state.workspace.app?.botUser, channel: state.channel });
  keepFocus(byId('sidebar'), () =>
    renderChannels(byId('sidebar'), state, (open) => openChannel(state, open)),
  );
  if (state.thread !== undefined) showThread(state);
}

/** @param {ClientState} state */
function showHome(state) {
  const { home } = state;
  if (home === null) {
    scroller.replaceChildren(el('p', { class: 'empty' }, 'The app has not published a Home tab for you.'));
    return;
  }
  const tab = el('div', { class: 'home-tab' });
  /** @type {import('../slack/person-interface.ts').StateValues} */
  const inputs = {};
  tab.append(
    renderBlocks(home.blocks, {
      name: `home-${home.id}`,
      directory: directoryOf(state),
      users: state.users,
      state: inputs,
      errors: {},
      act: (action) =>
        failureOf(act('click', { ...state.person, on: { view: home.id }, ...action, state: inputs })),
      lost: (failure) => scroller.prepend(el('p', { class: 'block-failure', role: 'alert' }, failure)),
    }),
  );
  scroller.replaceChildren(tab);
}

/** @param {ClientState} state */
function showThread(state) {
  thread.show(state, actionsIn(state, undefined), {
    name: `${state.me}-${state.open}-${state.thread}`,
    placeholder: 'Reply …',
    closed: closedReason(state),
    commands: state.commands,
    send: (text) => send(state, text, state.thread),
  });
  showSide();
}

function showSide() {
  byId('side').hidden = byId('tally').hidden && byId('thread').hidden;
}

/** The address says who sits where, so that it can be opened again, or in a second window. @param {ClientState} state */
function remember(state) {
  const query = new URLSearchParams({ team: state.team, user: state.me, channel: state.open });
  history.replaceState(null, '', `?${query}`);
  const place =
    state.channel === undefined ? (state.workspace.app?.name ?? 'Home') : `#${state.channel.name}`;
  document.title = `${place} · ${state.workspace.name} · Local Slack`;
}

/** @param {HTMLElement} holder @param {() => void} render */
function keepFocus(holder, render) {
  const active = document.activeElement;
  const channel =
    active instanceof HTMLElement && holder.contains(active) ? active.dataset.channel : undefined;
  render();
  const again =
    channel === undefined ? null : holder.querySelector(`[data-channel="${CSS.escape(channel)}"]`);
  if (again instanceof HTMLElement) again.focus();
}

/* ---- what the person does ---- */

/** @param {ClientState} state @param {string} open */
function openChannel(state, open) {
  if (open !== state.open) state.thread = undefined;
  state.open = open;
  showEverything(state);
  if (open === HOME) void openHome(state);
  else composer.focus();
}

/** @param {ClientState} state */
async function openHome(state) {
  const before = state.home;
  await act('open-home', state.person);
  const seen = await read('home', state.person);
  if (!seen.ok || current !== state) return;
  // What an event brought meanwhile is newer than this answer.
  if (state.home === before) state.home = seen.home;
  if (state.open === HOME) showMessages(state);
}

/** @param {ClientState} state @param {SeenMessage} message */
function openThread(state, message) {
  state.thread = message.ts;
  showThread(state);
}

function closeThread() {
  if (current === undefined) return;
  current.thread = undefined;
  showThread(current);
  composer.focus();
}

/**
 * @param {ClientState} state
 * @param {((message: SeenMessage) => void) | undefined} open
 * @returns {import('./messages.js').MessageActions}
 */
function actionsIn(state, open) {
  return {
    directory: directoryOf(state),
    users: state.users,
    openThread: open,
    click: (message, action, inputs) =>
      failureOf(
        act('click', {
          ...state.person,
          on: { channel: message.channel, message: message.ts },
          ...action,
          state: inputs,
        }),
      ),
    lost: (message, failure) => {
      const thread = message.threadTs === message.ts ? undefined : message.threadTs;
      state.note(message.channel, failure, thread);
      showMessages(state);
    },
    dismiss: (message) => {
      state.dismiss(message.channel, message.ts);
      showMessages(state);
    },
    person: state.person,
    remove: async (message) => {
      const sure = await confirmed(DELETE, directoryOf(state));
      if (!sure) return;
      const { team } = state;
      const failure = await failureOf(
        act('faults', { kind: 'delete_message', team, channel: message.channel, message: message.ts }),
      );
      if (failure !== undefined) state.note(message.channel, failure, undefined);
      showMessages(state);
    },
    dismissNote: (note) => {
      state.dropNote(state.open, note.id);
      showMessages(state);
    },
  };
}

/**
 * @param {ReturnType<typeof act<'click' | 'close-view' | 'command' | 'faults'>>} answer
 * @returns {Promise<string | undefined>} what went wrong
 */
async function failureOf(answer) {
  const said = await answer;
  return said.ok ? undefined : said.text;
}

/** @param {ClientState} state @param {string} text @param {string | undefined} threadTs */
async function send(state, text, threadTs) {
  const channel = state.open;
  const failure = text.startsWith('/')
    ? await sendCommand(state, text.trim(), threadTs)
    : await sendMessage(state, text, threadTs);
  if (failure === undefined) return true;
  state.note(channel, failure, threadTs);
  if (current === state) showMessages(state);
  // A command that failed is over; a message that was not sent is still the person's.
  return text.startsWith('/');
}

/** @param {ClientState} state @param {string} line @param {string | undefined} threadTs */
async function sendCommand(state, line, threadTs) {
  if (threadTs !== undefined) return `${line.split(/\s/)[0]} is not supported in threads. Sorry!`;
  return failureOf(act('command', { ...state.person, channel: state.open, line }));
}

/** @param {ClientState} state @param {string} text @param {string | undefined} threadTs */
async function sendMessage(state, text, threadTs) {
  const post = { ...state.person, channel: state.open, text: outgoing(text, state.users) };
  const answer = await act('post', threadTs === undefined ? post : { ...post, threadTs });
  return answer.ok ? undefined : answer.text;
}

/** @param {SeenView} view @param {import('../slack/person-interface.ts').StateValues} inputs */
async function submitView(view, inputs) {
  const answer = await act('submit', { ...current?.person, view: view.id, state: inputs });
  if (!answer.ok) return answer.text;
  // The stream tells the same, unless it is down; what it told since is newer than this answer.
  if (modal.view === view)
    modal.show(answer.view === null ? null : { ...answer.view, errors: answer.errors });
  return undefined;
}

/** @param {SeenView} view @param {boolean} all */
async function closeView(view, all) {
  const state = current;
  const failure = await failureOf(
    act('close-view', { ...state?.person, view: view.id, ...(all ? { all } : {}) }),
  );
  if (failure !== undefined || state === undefined || modal.view !== view) return failure;
  const seen = await read('view', state.person);
  if (seen.ok && current === state) modal.show(seen.view);
  return undefined;
}
