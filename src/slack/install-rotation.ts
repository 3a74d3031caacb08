import { randomUUID } from 'node:crypto';
import { WebClient } from '@slack/web-api';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { AuditLog } from '../core/audit/audit-log.ts';
import { type Installation, isLive, type LiveInstallation } from '../core/workspace/installation.ts';
import type { InstallationStore, StoredInstallation } from '../core/workspace/installation-store.ts';
import { clientOptions, type Reach, slackError } from './clients.ts';

export interface TokenRotationParts {
  readonly store: InstallationStore;
  readonly client: { readonly id: string; readonly secret: string };
  readonly audit: AuditLog;
  readonly reach: Reach;
  readonly logger: Logger;
  readonly clock: () => number;
}

/** A token lives twelve hours: two of them are left for what may go wrong. */
export const REFRESH_AHEAD_MS = 2 * 60 * 60_000;
/** Longer than asking Slack takes: a claim that is older belongs to a process that has ended. */
export const CLAIM_MS = 60_000;
const TIMEOUT_MS = 10_000;
/** Between the claim and the question: whoever was frozen longer may no longer hold the claim. */
const ASK_WITHIN_MS = 20_000;
const LOOK_EVERY_MS = 20_000;

const Refreshed = z.looseObject({
  access_token: z.string().min(1),
  refresh_token: z.string().min(1),
  expires_in: z.number().positive(),
});

/** Slack will never take this refresh token again. */
const REFUSED_FOR_GOOD: ReadonlySet<string> = new Set([
  'invalid_refresh_token',
  'invalid_grant',
  'token_revoked',
  'authorization_not_found',
  'account_inactive',
  'invalid_auth',
]);

/**
 * Renews tokens before they end. A refresh token can be used once, so it is claimed in the store before it is used, by
 * comparing what stands there; and what Slack gave for it replaces nothing but that very token.
 */
export class TokenRotation {
  readonly #parts: TokenRotationParts;
  readonly #self = randomUUID();
  /** Given by Slack, and not yet in the store. */
  readonly #unstored = new Map<string, { readonly used: string; readonly next: Installation }>();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(parts: TokenRotationParts) {
    this.#parts = parts;
  }

  async start(): Promise<void> {
    await this.rotateDue();
    this.#timer = setInterval(() => {
      this.rotateDue().catch((error: unknown) =>
        this.#parts.logger.warn({ err: error }, 'tokens could not be looked at; they are looked at again'),
      );
    }, LOOK_EVERY_MS);
    this.#timer.unref();
  }

  /** Waits for what is being renewed: it must not be lost between Slack and the store. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running.catch(() => {});
    await this.#storeUnstored();
  }

  rotateDue(): Promise<void> {
    const running = this.#running.catch(() => {}).then(() => this.#rotateDue());
    this.#running = running;
    return running;
  }

  async #rotateDue(): Promise<void> {
    await this.#storeUnstored();
    const { readable } = await this.#parts.store.all();
    for (const stored of readable) {
      if (isLive(stored.installation)) await this.#rotate(stored, stored.installation);
    }
  }

  async #rotate(stored: StoredInstallation, installation: LiveInstallation): Promise<void> {
    const { store, clock, logger } = this.#parts;
    const { team, state } = installation;
    const now = clock();
    if (state.expires === undefined || state.expires.at - now > REFRESH_AHEAD_MS) return;
    const { refresh } = state.expires;
    if (refresh.refused !== undefined || this.#unstored.has(team)) return;
    if (refresh.begun !== undefined && Math.abs(now - refresh.begun.at) < CLAIM_MS) return;

    const begunAt = performance.now();
    const begun = { at: now, by: this.#self };
    const claimed = await store.replace(stored, withRefresh(installation, { ...refresh, begun }));
    if (claimed === undefined || performance.now() - begunAt > ASK_WITHIN_MS) return;
    const interrupted = refresh.begun !== undefined;
    if (interrupted) {
      logger.warn({ team }, 'a renewal of a token was begun and never finished; it is tried once more');
    }
    const answer = await this.#ask(refresh.token);
    if (answer === 'later') return;
    if ('refused' in answer) return this.#refused(team, refresh.token, answer.refused, interrupted);
    const expires = { at: now + answer.expiresInMs, refresh: { token: answer.refreshToken } };
    const next: Installation = { ...installation, state: { status: 'live', token: answer.token, expires } };
    this.#unstored.set(team, { used: refresh.token, next });
    await this.#storeUnstored();
  }

  /** `later`: Slack did not answer, or not to this question; whether the token was used is not known. */
  async #ask(
    refreshToken: string,
  ): Promise<'later' | { refused: string } | { token: string; refreshToken: string; expiresInMs: number }> {
    const { reach, client, logger } = this.#parts;
    const asking = new WebClient(undefined, clientOptions(reach, TIMEOUT_MS));
    try {
      const given = Refreshed.parse(
        await asking.oauth.v2.access({
          client_id: client.id,
          client_secret: client.secret,
          grant_type: 'refresh_token',
          refresh_token: refreshToken,
        }),
      );
      return {
        token: given.access_token,
        refreshToken: given.refresh_token,
        expiresInMs: given.expires_in * 1_000,
      };
    } catch (error) {
      const said = slackError(error);
      if (said !== undefined && REFUSED_FOR_GOOD.has(said)) return { refused: said };
      logger.error(
        { slack: said ?? 'no answer' },
        'Slack did not renew a token; it is asked again in a minute',
      );
      return 'later';
    }
  }

  async #storeUnstored(): Promise<void> {
    for (const [team, { used, next }] of [...this.#unstored]) {
      try {
        await this.#succeed(team, used, next);
        this.#unstored.delete(team);
      } catch (error) {
        this.#parts.logger.error(
          { team, err: error },
          'a renewed token could not be stored; this is tried again, and if the process ends before, the workspace has to be installed again',
        );
      }
    }
  }

  /** Replaces the token that was used, whatever else was written beside it meanwhile, and no other one. */
  async #succeed(team: string, used: string, next: Installation): Promise<void> {
    const { store, logger } = this.#parts;
    for (;;) {
      const stored = await store.read(team);
      if (stored === undefined || refreshTokenOf(stored.installation) !== used) return;
      if ((await store.replace(stored, next)) === undefined) continue;
      logger.info({ team }, 'the token of a workspace was renewed');
      return;
    }
  }

  async #refused(team: string, used: string, why: string, interrupted: boolean): Promise<void> {
    const { store, audit, clock, logger } = this.#parts;
    const said = interrupted ? `${why}, after a renewal that was never finished` : why;
    for (;;) {
      const stored = await store.read(team);
      // Somebody else has a newer one by now: then it was right to refuse the old one.
      if (stored === undefined || !isLive(stored.installation)) return;
      if (refreshTokenOf(stored.installation) !== used) return;
      const refused = { at: clock(), why: said };
      const next = withRefresh(stored.installation, { token: used, refused });
      if ((await store.replace(stored, next)) === undefined) continue;
      const detail = { alarm: 'workspace_expiring', team, why: said };
      await audit
        .append({ kind: 'alarm.raised', tenant: undefined, detail })
        .catch((error: unknown) => logger.error({ err: error }, 'an alarm could not be audited'));
      return;
    }
  }
}

function refreshTokenOf({ state }: Installation): string | undefined {
  return state.status === 'live' ? state.expires?.refresh.token : undefined;
}

type Refresh = NonNullable<LiveInstallation['state']['expires']>['refresh'];

function withRefresh(installation: LiveInstallation, refresh: Refresh): Installation {
  const { state } = installation;
  const expires = state.expires === undefined ? undefined : { ...state.expires, refresh };
  return { ...installation, state: { ...state, expires } };
}
