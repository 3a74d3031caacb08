import type { App } from '@slack/bolt';
import type { Logger } from 'pino';
import { CONFIRM_ARMING } from './arming-card.ts';
import { LIST_VIEWS } from './batch-review.ts';
import { actorOf, HomeClick, ViewClick } from './bodies.ts';
import { ACTIONS } from './card.ts';
import type { WorkspaceClients } from './clients.ts';
import { EDIT_VIEW } from './edit-modal.ts';
import { REVOKE_GRANT } from './grant-card.ts';
import { GRANT_VIEWS } from './grant-form.ts';
import { HOME_ACTIONS } from './home.ts';
import type { HomeTab } from './home-tab.ts';
import type { InFlight } from './in-flight.ts';
import { LIST_ACTIONS } from './list-actions.ts';
import { noticeModal, VIEWS } from './modals.ts';
import { NOTICES } from './notices.ts';

export interface UnknownClicksParts {
  readonly home: HomeTab;
  readonly workspaceOf: (team: string) => WorkspaceClients | undefined;
  readonly inFlight: InFlight;
  readonly logger: Logger;
}

/** What somebody listens to. Every other button was drawn by another version of this app, and stands there still. */
const KNOWN_ACTIONS: ReadonlySet<string> = new Set([
  ...Object.values(ACTIONS),
  ...Object.values(LIST_ACTIONS),
  ...Object.values(HOME_ACTIONS),
  REVOKE_GRANT,
  CONFIRM_ARMING,
]);
const KNOWN_FORMS: ReadonlySet<string> = new Set([
  VIEWS.approveReason,
  VIEWS.denyReason,
  VIEWS.review,
  ...Object.values(GRANT_VIEWS),
  LIST_VIEWS.batch,
  EDIT_VIEW,
]);

const TITLE = 'Nothing was done';

/** Answers clicks that nobody else does: without an answer, Slack shows a warning that says nothing. */
export class UnknownClicks {
  readonly #parts: UnknownClicksParts;

  constructor(parts: UnknownClicksParts) {
    this.#parts = parts;
  }

  register(app: App): void {
    const { inFlight } = this.#parts;
    app.action({ type: 'block_actions' }, async ({ action, body, ack, respond }) => {
      if (KNOWN_ACTIONS.has(action.action_id)) return;
      const inMessage = body.container?.type === 'message';
      const tell = inMessage
        ? () => respond({ text: NOTICES.unknown, response_type: 'ephemeral', replace_original: false })
        : () => this.#tellInView(body);
      await inFlight.track(this.#answered('button', ack(), tell));
    });
    app.view({ type: 'view_submission' }, async ({ view, ack }) => {
      if (KNOWN_FORMS.has(view.callback_id)) return;
      const answer = { response_action: 'update', view: noticeModal(TITLE, NOTICES.unknown) } as const;
      await inFlight.track(this.#answered('form', ack(answer)));
    });
  }

  async #answered(
    what: string,
    acknowledged: Promise<unknown>,
    tell?: () => Promise<unknown>,
  ): Promise<void> {
    const { logger } = this.#parts;
    logger.warn(
      `a ${what} was used that this version does not know; nothing was done, and the person is told so`,
    );
    try {
      await acknowledged;
      await tell?.();
    } catch (error) {
      logger.warn({ err: error }, `a person could not be told that nothing came of a ${what}`);
    }
  }

  /** There is no response_url: the answer stands in the Home tab, or on top of the form. */
  async #tellInView(body: unknown): Promise<void> {
    const home = HomeClick.safeParse(body);
    if (home.success) {
      const { user, workspace } = actorOf(home.data);
      const { private_metadata: metadata } = home.data.view;
      return this.#parts.home.tell({ user: user.id, ...workspace, metadata }, NOTICES.unknown);
    }
    const form = ViewClick.safeParse(body);
    const trigger = form.success ? form.data.trigger_id : undefined;
    const workspace = form.success ? this.#parts.workspaceOf(form.data.team.id) : undefined;
    if (trigger === undefined || workspace === undefined) return;
    await workspace.views.views.push({ trigger_id: trigger, view: noticeModal(TITLE, NOTICES.unknown) });
  }
}
