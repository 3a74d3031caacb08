import type { Logger } from 'pino';
import { z } from 'zod';
import type { ApproverDirectory } from '../core/approval/approver-directory.ts';
import type { ApprovalPublicKey } from '../core/approval/decision.ts';
import type { AuditLog } from '../core/audit/audit-log.ts';
import { type GrantId, grantIsGenuine, proposalOfGrant } from '../core/grant/grant.ts';
import { GrantMalformed, type GrantStore, type StoredGrant } from '../core/grant/grant-store.ts';
import type { TenantId } from '../core/identity/ids.ts';
import type { CardRef } from '../core/proposal/proposal.ts';
import type { ProposalId } from '../core/proposal/proposal-id.ts';
import { type CardOutbox, type ProposalStore, StoreUnavailable } from '../core/proposal/proposal-store.ts';
import { type ProposalKeys, unseal } from '../core/proposal/seal.ts';
import { parseStrictJson } from '../core/tool/strict-json.ts';
import type { ToolDefinition } from '../core/tool/tool.ts';
import { readArguments } from './arguments-text.ts';
import { rateLimitedForMs, slackError, type WorkspaceClients } from './clients.ts';
import { drawGrantCard } from './grant-card.ts';
import { MarkedRounds } from './marked-rounds.ts';
import { type CardPace, postsIn, SharedPace, SLACK_PACE, updatesIn } from './pace.ts';
import { asWritten, code, type KnownBlock, localTime, ourSection } from './wording.ts';

export interface GrantPublisherParts {
  readonly grants: GrantStore;
  readonly store: Pick<ProposalStore, 'read' | 'now'>;
  /** For word that something was marked; what is drawn comes from `grants`. */
  readonly outbox: Pick<CardOutbox, 'onMarked' | 'turn' | 'pause'>;
  readonly audit: AuditLog;
  readonly directory: ApproverDirectory;
  readonly proposalKeys: ProposalKeys;
  readonly approvalKeys: readonly ApprovalPublicKey[];
  readonly tenants: () => readonly TenantId[];
  readonly placeOf: (tenant: TenantId) => { readonly team: string; readonly channel: string } | undefined;
  readonly workspaceOf: (team: string) => WorkspaceClients | undefined;
  readonly toolOf: (name: string) => ToolDefinition | undefined;
  readonly logger: Logger;
  /** For tests that have no time. */
  readonly pace?: CardPace | undefined;
}

/** Longer than every call to Slack that one drawing makes. */
const LEASE_MS = 45_000;
const RETRY_MS = 5_000;
const HOPELESS_RETRY_MS = 60_000;
const SWEEP_EVERY_MS = 3_000;
/** Who left the group of approvers loses their grants within this. */
const ENTITLED_EVERY_MS = 30_000;
const MOST_SWEPT = 100;
/** Uses that one message of the thread tells with their arguments; of the others it tells how many. */
const TOLD_IN_FULL = 3;

/**
 * The one card of each grant, its thread, and the ends that nobody clicks for: the switch, and a giver who may not approve
 * any more. Any number of replicas do this at once; what ends is ended by one script, and a card is leased to one.
 */
export class GrantPublisher {
  readonly #parts: GrantPublisherParts;
  readonly #pace: SharedPace;
  readonly #rounds: MarkedRounds;
  /** Said once, and not with each round. */
  readonly #failing = new Set<TenantId>();
  #sweptAt = Number.NEGATIVE_INFINITY;
  #entitledAt = Number.NEGATIVE_INFINITY;

  constructor(parts: GrantPublisherParts) {
    this.#parts = parts;
    this.#rounds = new MarkedRounds(parts.outbox, () => this.#round());
    this.#pace = new SharedPace(parts.outbox, parts.pace ?? SLACK_PACE);
  }

  start(): Promise<void> {
    return this.#rounds.start();
  }

  stop(): Promise<void> {
    return this.#rounds.stop();
  }

  async #round(): Promise<void> {
    const { grants, tenants } = this.#parts;
    const byShard = new Map<number, TenantId[]>();
    for (const tenant of tenants()) {
      const shard = grants.shardOf(tenant);
      byShard.set(shard, [...(byShard.get(shard) ?? []), tenant]);
    }
    await Promise.all([...byShard.values()].map((neighbours) => this.#turns(neighbours)));
    const now = performance.now();
    if (now - this.#sweptAt >= SWEEP_EVERY_MS) this.#sweptAt = now;
    if (now - this.#entitledAt >= ENTITLED_EVERY_MS) this.#entitledAt = now;
  }

  /** Of one shard: where its node is away, the first of its tenants has waited for all of them. */
  async #turns(neighbours: readonly TenantId[]): Promise<void> {
    for (const tenant of neighbours) {
      try {
        await this.#turn(tenant);
        if (this.#failing.delete(tenant))
          this.#parts.logger.info({ tenant }, 'grants are looked after again');
      } catch (err) {
        if (!this.#failing.has(tenant)) {
          this.#parts.logger.warn({ err, tenant }, 'grants could not be looked after; they are again soon');
        }
        this.#failing.add(tenant);
        if (err instanceof StoreUnavailable) return;
      }
    }
  }

  async #turn(tenant: TenantId): Promise<void> {
    const { grants } = this.#parts;
    const now = performance.now();
    if (now - this.#sweptAt >= SWEEP_EVERY_MS) await grants.voidSwitchedOff(tenant);
    if (now - this.#entitledAt >= ENTITLED_EVERY_MS) await this.#endOfThoseWhoLeft(tenant);
    for (const id of await grants.claimCards(tenant, 5, LEASE_MS)) {
      if (this.#rounds.stopped) return;
      await this.#draw(id, tenant).catch(async (error: unknown) => {
        const pauseMs = rateLimitedForMs(error) ?? RETRY_MS;
        const place = this.#parts.placeOf(tenant);
        if (rateLimitedForMs(error) !== undefined && place !== undefined) {
          await this.#pace.posts.pause(postsIn(place.team, place.channel), pauseMs);
        }
        this.#parts.logger.warn(
          { grant: id, slack: slackError(error), retryInMs: pauseMs },
          'the card of a grant could not be drawn; it is tried again',
        );
        await grants.postponeCard(id, tenant, pauseMs);
      });
    }
  }

  /** A grant lives on its giver's right to approve. Where the directory does not answer, it lives on until it does. */
  async #endOfThoseWhoLeft(tenant: TenantId): Promise<void> {
    const { grants, directory, placeOf } = this.#parts;
    const place = placeOf(tenant);
    if (place === undefined) return;
    for (const { id, signed } of await grants.open(tenant, MOST_SWEPT)) {
      const { person, as } = signed.statement;
      const entitled = await directory.entitlementOf(person, [as], place.team, { fresh: true });
      if (!entitled.ok && entitled.refusal !== 'cannot_check')
        await grants.voidGrant(id, 'giver_not_entitled');
    }
  }

  async #draw(id: GrantId, tenant: TenantId): Promise<void> {
    const { grants, approvalKeys, placeOf, workspaceOf } = this.#parts;
    const grant = await this.#read(id);
    if (grant === undefined) return grants.postponeCard(id, tenant, null);
    if (grant === 'not_ours') return this.#forged(id, tenant);
    const { statement } = grant.signed;
    if (!approvalKeys.some((key) => grantIsGenuine(key, grant.signed)) || statement.tenant !== tenant) {
      return this.#forged(id, tenant);
    }
    const place = placeOf(tenant);
    const workspace = place && workspaceOf(place.team);
    if (place === undefined || workspace === undefined) {
      return grants.postponeCard(id, tenant, HOPELESS_RETRY_MS);
    }
    const turn = postsIn(place.team, place.channel);
    const stands = grant.card?.team === place.team ? grant.card : undefined;
    const wait = await (stands === undefined
      ? this.#pace.posts.take(turn)
      : this.#pace.updates.take(updatesIn(place.team)));
    if (wait > 0) return grants.postponeCard(id, tenant, wait);
    const now = await this.#parts.store.now();
    const tool = this.#parts.toolOf(statement.tool);
    const card = drawGrantCard({ grant, tool, team: place.team, now });
    const posted = await this.#publish(workspace, { team: place.team, channel: place.channel }, stands, card);
    const untold = grant.uses.length > grant.cardUses ? await this.#pace.posts.take(turn) : 0;
    if (untold > 0) {
      await grants.cardDrawn(id, { revision: grant.revision, uses: grant.cardUses, card: posted });
      return grants.postponeCard(id, tenant, untold);
    }
    await grants.cardDrawn(id, { revision: grant.revision, uses: grant.uses.length, card: posted });
    await this.#tellThread(workspace, posted, grant);
  }

  async #publish(
    workspace: WorkspaceClients,
    place: { team: string; channel: string },
    stands: CardRef | undefined,
    card: { text: string; blocks: KnownBlock[] },
  ): Promise<CardRef> {
    if (stands !== undefined) {
      try {
        await workspace.posting.chat.update({ channel: stands.channel, ts: stands.ts, ...card });
        return stands;
      } catch (error) {
        if (!GONE_MESSAGES.has(slackError(error) ?? '')) throw error;
      }
    }
    const answer = await workspace.posting.chat.postMessage({
      channel: place.channel,
      ...card,
      unfurl_links: false,
      unfurl_media: false,
    });
    return { ...place, ts: Posted.parse(answer).ts };
  }

  /** One message for what was used since the card was drawn last; what fails is not tried again, the card has the count. */
  async #tellThread(workspace: WorkspaceClients, card: CardRef, grant: StoredGrant): Promise<void> {
    const news = grant.uses.slice(grant.cardUses);
    if (news.length === 0) return;
    const { maxUses } = grant.signed.statement;
    const lines: string[] = [];
    const blocks: KnownBlock[] = [];
    for (const [index, { proposal, at }] of news.entries()) {
      const line = `Use ${grant.cardUses + index + 1} of ${maxUses}, ${localTime(at)}: ${code(proposal)}`;
      lines.push(line);
      if (index >= TOLD_IN_FULL) continue;
      blocks.push(ourSection(line));
      const text = await this.#argumentsOf(proposal);
      if (text !== undefined) blocks.push(asWritten(text));
    }
    if (lines.length > TOLD_IN_FULL)
      blocks.push(ourSection(lines.slice(TOLD_IN_FULL, 40).join('\n').slice(0, 2_900)));
    await workspace.posting.chat
      .postMessage({
        channel: card.channel,
        thread_ts: card.ts,
        text: lines.join('\n').slice(0, 3_000),
        blocks,
        unfurl_links: false,
        unfurl_media: false,
      })
      .catch((error: unknown) => {
        this.#parts.logger.warn({ grant: grant.id, slack: slackError(error) }, 'a thread was not told');
      });
  }

  async #argumentsOf(id: ProposalId): Promise<string | undefined> {
    const record = await this.#parts.store.read(id);
    const opened = record && unseal(this.#parts.proposalKeys, record.termsText, record.seal);
    if (!opened?.ok) return undefined;
    const { terms } = opened.sealed;
    const redact = this.#parts.toolOf(terms.tool)?.redact;
    const args = parseStrictJson(terms.arguments);
    if (redact === undefined || !args.ok) return undefined;
    return readArguments(args.value, terms.arguments, redact).within({ bytes: 900, lines: 10 }).text;
  }

  async #read(id: GrantId): Promise<StoredGrant | 'not_ours' | undefined> {
    try {
      return await this.#parts.grants.read(id);
    } catch (error) {
      if (error instanceof GrantMalformed) return 'not_ours';
      throw error;
    }
  }

  async #forged(id: GrantId, tenant: TenantId): Promise<void> {
    const { grants, audit, logger } = this.#parts;
    logger.error({ grant: id }, 'a grant in the store is not signed by us; it is ended and not shown');
    await audit.append({
      kind: 'alarm.raised',
      tenant,
      proposal: proposalOfGrant(id),
      detail: { alarm: 'grant_forged', grant: id, at: 'card' },
    });
    await grants.voidGrant(id, 'forged');
    await grants.postponeCard(id, tenant, null);
  }
}

const Posted = z.looseObject({ ts: z.string() });

const GONE_MESSAGES: ReadonlySet<string> = new Set([
  'message_not_found',
  'cant_update_message',
  'edit_window_closed',
]);
