// @ts-check
import { hueOf, initials } from './avatar.js';
import { el } from './dom.js';

/**
 * @param {HTMLElement} rail
 * @param {readonly import('../slack/person-interface.ts').SeenWorkspace[]} workspaces
 * @param {string} open
 * @param {(team: string) => void} choose
 */
export function renderWorkspaces(rail, workspaces, open, choose) {
  rail.replaceChildren(
    ...workspaces.map((workspace) =>
      el(
        'button',
        {
          type: 'button',
          class: `workspace hue-${hueOf(workspace.team)}`,
          title: workspace.name,
          'aria-label': workspace.name,
          'aria-current': workspace.team === open ? 'true' : undefined,
          'data-team': workspace.team,
          onclick: () => choose(workspace.team),
        },
        initials(workspace.name),
      ),
    ),
  );
}
