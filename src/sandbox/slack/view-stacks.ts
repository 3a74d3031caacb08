import { stateOf } from './input-state.ts';
import type { LiveEvents } from './live-events.ts';
import { SLACK_LIMITS } from './slack-limits.ts';
import type { View, ViewContent } from './view.ts';

/** The modals before each person, bottom first, and each person's Home tab. */
export class ViewStacks {
  readonly #live: LiveEvents;
  readonly #newId: () => string;
  readonly #modals = new Map<string, View[]>();
  readonly #homes = new Map<string, View>();

  constructor(live: LiveEvents, newId: () => string) {
    this.#live = live;
    this.#newId = newId;
  }

  top(team: string, user: string): View | undefined {
    return this.stack(team, user).at(-1);
  }

  stack(team: string, user: string): readonly View[] {
    return this.#modals.get(`${team}/${user}`) ?? [];
  }

  home(team: string, user: string): View | undefined {
    return this.#homes.get(`${team}/${user}`);
  }

  find(team: string, id: { view: string } | { external: string }): View | undefined {
    const wanted = (view: View) =>
      view.team === team && ('view' in id ? view.id === id.view : view.content.external_id === id.external);
    return [...this.#modals.values()].flat().find(wanted) ?? [...this.#homes.values()].find(wanted);
  }

  /** A new modal takes the place of whatever stack was there. */
  open(team: string, user: string, content: ViewContent): View {
    return this.#place(team, user, [], content);
  }

  push(team: string, user: string, content: ViewContent): View | 'push_limit_reached' {
    const below = this.stack(team, user);
    if (below.length >= SLACK_LIMITS.viewStack) return 'push_limit_reached';
    return this.#place(team, user, below, content);
  }

  /** Inputs that keep their block id and action id keep what stands in them. */
  update(view: View, content: ViewContent): void {
    view.content = content;
    view.state = stateOf(content.blocks, view.state);
    view.errors = {};
    view.hash = this.#newId();
    this.#changed(view);
  }

  remember(view: View, change: Partial<Pick<View, 'state' | 'errors'>>): void {
    Object.assign(view, change);
    this.#changed(view);
  }

  /** Takes the view, and with `clear` everything under it, away. */
  close(view: View, clear: boolean): void {
    const below = clear ? [] : this.stack(view.team, view.user).filter((candidate) => candidate !== view);
    this.#modals.set(`${view.team}/${view.user}`, below);
    this.#live.publish({ kind: 'view', team: view.team, user: view.user });
  }

  publishHome(team: string, user: string, content: ViewContent): View {
    const known = this.home(team, user);
    if (known) {
      this.update(known, content);
      return known;
    }
    const view = this.#newView(team, user, undefined, content);
    this.#homes.set(`${team}/${user}`, view);
    this.#changed(view);
    return view;
  }

  #place(team: string, user: string, below: readonly View[], content: ViewContent): View {
    const view = this.#newView(team, user, below.at(-1), content);
    this.#modals.set(`${team}/${user}`, [...below, view]);
    this.#changed(view);
    return view;
  }

  #newView(team: string, user: string, below: View | undefined, content: ViewContent): View {
    const id = `V0${this.#newId()}`;
    return {
      id,
      team,
      user,
      content,
      hash: this.#newId(),
      state: stateOf(content.blocks),
      errors: {},
      rootId: below?.rootId ?? id,
      previousId: below?.id ?? null,
    };
  }

  #changed(view: View): void {
    const kind = view.content.type === 'home' ? 'home' : 'view';
    this.#live.publish({ kind, team: view.team, user: view.user });
  }
}
