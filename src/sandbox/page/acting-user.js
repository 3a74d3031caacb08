// @ts-check
import { avatar } from './avatar.js';
import { el } from './dom.js';
import { icon } from './icons.js';

/** @typedef {import('../slack/person-interface.ts').SeenUser} SeenUser */

/** @type {Record<SeenUser['kind'], { label: string, tone: string } | undefined>} */
const KINDS = {
  member: undefined,
  guest: { label: 'guest', tone: 'warn' },
  bot: { label: 'app', tone: 'quiet' },
  workflow_bot: { label: 'workflow', tone: 'quiet' },
  deactivated: { label: 'deactivated', tone: 'quiet' },
  stranger: { label: 'other company', tone: 'warn' },
};

/**
 * Who the person at the demo plays: a button that shows it, and a menu of everybody in the workspace.
 *
 * @param {HTMLElement} slot
 * @param {readonly SeenUser[]} users
 * @param {string} me
 * @param {(user: string) => void} choose
 */
export function renderActingUser(slot, users, me, choose) {
  const acting = users.find((user) => user.id === me);
  if (acting === undefined) return slot.replaceChildren();
  const toggle = el(
    'button',
    { type: 'button', class: 'acting-button', 'aria-haspopup': 'menu', 'aria-expanded': 'false' },
    el('span', { class: 'acting-label' }, 'Acting as'),
    avatar(acting.id, acting.realName),
    el('span', { class: 'acting-name' }, acting.realName),
    ...badges(acting),
    icon('chevron'),
  );
  const menu = el('div', { class: 'acting-menu', role: 'menu', 'aria-label': 'Act as', hidden: true });
  menu.append(
    el('p', { class: 'acting-hint' }, 'See the workspace through somebody else’s eyes'),
    ...users.map((user) => item(user, user.id === me, () => choose(user.id))),
  );
  const open = /** @param {boolean} shown */ (shown) => {
    menu.hidden = !shown;
    toggle.setAttribute('aria-expanded', String(shown));
    if (shown) (items().find((row) => row.getAttribute('aria-checked') === 'true') ?? items()[0])?.focus();
  };
  const items = () => /** @type {HTMLElement[]} */ ([...menu.querySelectorAll('[role="menuitemradio"]')]);
  toggle.addEventListener('click', () => open(menu.hidden === true));
  slot.onkeydown = (event) => {
    if (event.key === 'Escape' && !menu.hidden) {
      open(false);
      toggle.focus();
    } else if ((event.key === 'ArrowDown' || event.key === 'ArrowUp') && !menu.hidden) {
      event.preventDefault();
      move(items(), event.key === 'ArrowDown' ? 1 : -1);
    }
  };
  menu.addEventListener('focusout', (event) => {
    if (!(event.relatedTarget instanceof Node && slot.contains(event.relatedTarget))) open(false);
  });
  slot.replaceChildren(toggle, menu);
}

/** @param {SeenUser} user @param {boolean} checked @param {() => void} choose */
function item(user, checked, choose) {
  return el(
    'button',
    {
      type: 'button',
      class: 'acting-item',
      role: 'menuitemradio',
      'aria-checked': String(checked),
      'aria-disabled': user.canAct ? undefined : 'true',
      'data-user': user.id,
      title: user.canAct ? undefined : 'Nobody can be signed in as this account',
      onclick: () => user.canAct && choose(),
    },
    avatar(user.id, user.realName, user.kind === 'bot' ? 'app' : 'person'),
    el(
      'span',
      { class: 'acting-who' },
      el(
        'span',
        { class: 'acting-line' },
        el('span', { class: 'acting-name' }, user.realName),
        ...badges(user),
      ),
      el('span', { class: 'acting-title' }, user.title === '' ? `@${user.name}` : user.title),
    ),
    checked ? icon('check') : null,
  );
}

/** @param {SeenUser} user */
function badges(user) {
  const kind = KINDS[user.kind];
  return [
    ...(kind === undefined ? [] : [el('span', { class: `badge ${kind.tone}` }, kind.label)]),
    ...user.groups.map((group) =>
      el('span', { class: 'badge group', title: group.name }, `@${group.handle}`),
    ),
  ];
}

/** @param {HTMLElement[]} items @param {1 | -1} step */
function move(items, step) {
  const at = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  items[(at + step + items.length) % items.length]?.focus();
}
