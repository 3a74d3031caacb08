import type { App } from '@slack/bolt';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { CardOutbox } from '../core/proposal/proposal-store.ts';
import type { WriteSwitch } from '../core/switch/write-switch.ts';
import { rateLimitedForMs, slackError, type WorkspaceClients } from './clients.ts';
import { closed, drawHome, HOME_ACTIONS, type HomeView, pageOf } from './home.ts';
import { type HomeInbox, type Viewer, viewerKey } from './home-inbox.ts';
import type { InFlight } from './in-flight.ts';

export interface HomeTabParts {
  readonly inbox: HomeInbox;
  readonly switch: WriteSwitch;
  readonly outbox: CardOutbox;
  readonly workspaceOf: (team: string) => WorkspaceClients | undefined;
  readonly inFlight: InFlight;
  readonly logger: Logger;
  readonly monotonic: () => number;
}

/** A tab that was opened this long ago is taken for closed: it is drawn again when it is opened again. */
const LATELY_MS = 10 * 60_000;
const MOST_OPEN = 500;
/** What happens at the same time is drawn at once … */
const DEBOUNCE_MS = 700;
/** … and what happened while it was drawn, or was drawn by another replica over it, a little later. */
const AGAIN_MS = 3_000;
const SWITCH_LOOK_MS = 5_000;
const TOLD_MS = 60_000;
/** Of all replicas. views.publish and users.info are Tier 4, 100 a minute: people's own clicks come first. */
const REFRESHES = { burst: 15, everyMs: 2_500 } as const;

interface OpenHome {
  readonly viewer: Viewer;
  page: number;
  lookedAt: number;
  told: { readonly text: string; readonly until: number } | undefined;
  /** What we published last; undefined where somebody else may have. */
  published: string | undefined;
  behind: boolean;
  /** One drawing after the other, so that an older one never comes over a newer one. */
  drawing: Promise<unknown>;
}

/** The app's Home tab: an inbox for each approver, drawn when it is opened and while it is before them. */
export class HomeTab {
  readonly #parts: HomeTabParts;
  readonly #open = new Map<string, OpenHome>();
  #stopListening: (() => Promise<void>) | undefined;
  #refresh: NodeJS.Timeout | undefined;
  #switchLook: NodeJS.Timeout | undefined;
  #switchSeen = '';
  #stopped = false;

  constructor(parts: HomeTabParts) {
    this.#parts = parts;
  }

  register(app: App): void {
    const { inFlight } = this.#parts;
    app.event('app_home_opened', ({ body }) => inFlight.track(this.#opened(body)));
    for (const action of Object.values(HOME_ACTIONS)) {
      app.action(action, async ({ body, ack }) => {
        await ack().catch((err: unknown) =>
          this.#parts.logger.warn({ err }, 'Slack could not be told that a click arrived'),
        );
        await inFlight.track(this.#turned(body));
      });
    }
  }

  async start(): Promise<void> {
    this.#stopListening = await this.#parts.outbox.onMarked(() => this.#allAreBehind());
    this.#switchLook = setInterval(() => {
      if (this.#open.size > 0) this.#parts.inFlight.track(this.#lookAtSwitch()).catch(() => {});
    }, SWITCH_LOOK_MS);
    this.#switchLook.unref();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#refresh);
    clearInterval(this.#switchLook);
    await this.#stopListening?.();
  }

  /** What came of a click in somebody's Home tab: shown there, above everything, to nobody else. */
  async tell(viewer: Viewer & { readonly metadata: string }, text: string): Promise<void> {
    const home = this.#homeOf(viewer);
    home.page = pageOf(viewer.metadata);
    home.told = { text, until: this.#parts.monotonic() + TOLD_MS };
    await this.#draw(home, { anew: true });
  }

  async #opened(body: unknown): Promise<void> {
    const parsed = HomeOpened.safeParse(body);
    if (!parsed.success || parsed.data.event.tab !== 'home') return;
    const { team_id: team, event, authorizations } = parsed.data;
    const home = this.#homeOf({
      user: event.user,
      team,
      enterprise: authorizations?.[0]?.enterprise_id ?? undefined,
    });
    home.page = 0;
    home.told = undefined;
    await this.#draw(home, { anew: true });
  }

  async #turned(body: unknown): Promise<void> {
    const parsed = HomeTurned.safeParse(body);
    if (!parsed.success) return;
    const { user, team, enterprise, view, actions } = parsed.data;
    const home = this.#homeOf({
      user: user.id,
      team: team.id,
      enterprise: team.enterprise_id ?? enterprise?.id ?? undefined,
    });
    const by = { [HOME_ACTIONS.next]: 1, [HOME_ACTIONS.back]: -1 }[actions[0].action_id] ?? 0;
    home.page = Math.max(0, pageOf(view.private_metadata) + by);
    home.told = undefined;
    await this.#draw(home, { anew: true });
  }

  #homeOf(viewer: Viewer): OpenHome {
    const key = viewerKey(viewer);
    const known = this.#open.get(key);
    const { user, team, enterprise } = viewer;
    const fresh = {
      page: 0,
      told: undefined,
      published: undefined,
      behind: false,
      drawing: Promise.resolve(),
    };
    const home: OpenHome = known ?? { viewer: { user, team, enterprise }, lookedAt: 0, ...fresh };
    home.lookedAt = this.#parts.monotonic();
    // The longest not looked at stands first.
    this.#open.delete(key);
    this.#open.set(key, home);
    for (const oldest of this.#open.keys()) {
      if (this.#open.size <= MOST_OPEN) break;
      this.#open.delete(oldest);
    }
    return home;
  }

  #allAreBehind(): void {
    for (const home of this.#open.values()) home.behind = true;
    this.#refreshIn(DEBOUNCE_MS);
  }

  async #lookAtSwitch(): Promise<void> {
    const { epoch, state, closed: why, answered } = await this.#parts.switch.status();
    const seen = JSON.stringify([epoch, state, why, answered]);
    if (seen !== this.#switchSeen && this.#switchSeen !== '') this.#allAreBehind();
    this.#switchSeen = seen;
  }

  #refreshIn(ms: number): void {
    if (this.#stopped || this.#refresh !== undefined || this.#open.size === 0) return;
    this.#refresh = setTimeout(() => {
      this.#refresh = undefined;
      this.#parts.inFlight
        .track(this.#refreshAll())
        .catch((error: unknown) => this.#parts.logger.warn({ err: error }, 'Home tabs were not drawn again'));
    }, ms);
    this.#refresh.unref();
  }

  async #refreshAll(): Promise<void> {
    const { outbox } = this.#parts;
    for (const [key, home] of this.#open) {
      if (this.#parts.monotonic() - home.lookedAt > LATELY_MS) {
        this.#open.delete(key);
        continue;
      }
      if (!home.behind || (await outbox.turn(homesIn(home.viewer), REFRESHES)) > 0) continue;
      home.behind = false;
      // Until a drawing changes nothing: something may have happened while it was made.
      const drawn = await this.#draw(home, { anew: false });
      if (drawn === 'changed') home.behind = true;
    }
    if ([...this.#open.values()].some(({ behind }) => behind)) this.#refreshIn(AGAIN_MS);
  }

  /** Never fails: a tab that cannot be drawn is drawn when it is looked at again. */
  #draw(home: OpenHome, options: { anew: boolean }): Promise<'changed' | 'same' | 'failed'> {
    const drawn = home.drawing.then(() => this.#drawn(home, options));
    home.drawing = drawn;
    return drawn;
  }

  async #drawn(home: OpenHome, { anew }: { anew: boolean }): Promise<'changed' | 'same' | 'failed'> {
    const { viewer } = home;
    const workspace =
      this.#parts.workspaceOf(viewer.team) ?? this.#parts.workspaceOf(viewer.enterprise ?? '');
    if (workspace === undefined) return 'failed';
    const content = await this.#parts.inbox.of(viewer).catch((error: unknown): HomeView => {
      this.#parts.logger.warn({ err: error }, 'an inbox could not be read');
      return closed(UNREADABLE);
    });
    const told =
      home.told !== undefined && home.told.until > this.#parts.monotonic() ? home.told.text : undefined;
    const view = drawHome(content, { page: home.page, notice: told });
    const text = JSON.stringify(view);
    if (!anew && text === home.published) return 'same';
    try {
      await workspace.views.views.publish({ user_id: viewer.user, view });
    } catch (error) {
      home.published = undefined;
      home.behind = true;
      const waitMs = rateLimitedForMs(error);
      if (waitMs !== undefined)
        await this.#parts.outbox.pause(homesIn(viewer), REFRESHES, waitMs).catch(() => {});
      this.#parts.logger.warn({ slack: slackError(error) }, 'a Home tab could not be drawn');
      this.#refreshIn(waitMs ?? AGAIN_MS);
      return 'failed';
    }
    home.published = text;
    return 'changed';
  }
}

function homesIn({ team }: Viewer): string {
  return `homes ${team}`;
}

const UNREADABLE =
  'What waits for you could not be read just now, so nothing is shown. Refresh in a moment; if it stays so, tell your administrator.';

const HomeOpened = z.looseObject({
  team_id: z.string(),
  event: z.looseObject({ type: z.literal('app_home_opened'), user: z.string(), tab: z.string() }),
  authorizations: z.array(z.looseObject({ enterprise_id: z.string().nullish() })).optional(),
});

const HomeTurned = z.looseObject({
  user: z.looseObject({ id: z.string() }),
  team: z.looseObject({ id: z.string(), enterprise_id: z.string().nullish() }),
  enterprise: z.looseObject({ id: z.string() }).nullish(),
  view: z.looseObject({ type: z.literal('home'), private_metadata: z.string() }),
  actions: z.tuple([z.looseObject({ action_id: z.string() })]),
});
