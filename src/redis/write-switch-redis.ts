import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { CallContext } from '../core/identity/call-context.ts';
import type { PersonId, TenantId } from '../core/identity/ids.ts';
import type { HaltCause } from '../core/proposal/proposal.ts';
import { ProposalId, shardOfTenant } from '../core/proposal/proposal-id.ts';
import { NotHeldByReplicas, StoreUnavailable } from '../core/proposal/proposal-store.ts';
import { type SwitchScope, scopeKey, scopeOfKey } from '../core/switch/scope.ts';
import { operatorOf, type SwitchNotice } from '../core/switch/switch-notice.ts';
import {
  type Closed,
  type FoundOpen,
  type OffAnswer,
  type OffEntry,
  type OnAnswer,
  type Operator,
  PERMIT_LIFE_MS,
  type PermitsRenewed,
  START_DEADLINE_MS,
  type SwitchReading,
  type SwitchStatus,
  type WriteSwitch,
} from '../core/switch/write-switch.ts';
import { answerOf, type RedisClient } from './connection.ts';
import { EpochMemory } from './epoch-memory.ts';
import { type OpenStatus, proposalKey, shardKey, switchNoticeKeys, tenantIndexKey } from './keys.ts';
import { Scripts } from './scripts.ts';
import { offEntryOf, textOfOffEntry } from './switch-entry.ts';

/** Proposals halted in one script: about 2 ms of Redis's time. */
const HALT_BATCH = 200;
/** Between two attempts to confirm an off that some shard has not confirmed. */
const RETRY_MS = 500;
/** After this long, whoever renews permits finishes the halting that a process began and did not end. */
const HALT_GRACE_MS = 5_000;
/** For the last of what is halted, which cannot start any more, the answer to `off` waits no longer. */
const HALTED_WITHIN_MS = 2_000;

type Flip = { scope: SwitchScope; by: Operator; why?: string; forMs?: number };

/** One `off` on its way to all shards. */
interface OffInFlight {
  /** The same flip sent again changes nothing: an answer may be lost, a replica may lag. */
  readonly id: string;
  readonly entry: OffEntry;
  readonly epoch: number;
  /** By shard: the epoch that it confirmed. */
  readonly confirmed: Map<number, number>;
  tried: boolean;
  /** Somebody turned this very scope on again since: it is not ours any more. */
  superseded: boolean;
}

/** What an `off` finds in one shard: more and more of it. */
interface ShardHalting {
  readonly halted: ProposalId[];
  readonly executing: ProposalId[];
  /** Whether it went through all of them. */
  readonly ended: Promise<boolean>;
}

export class WriteSwitchRedis implements WriteSwitch {
  readonly #redis: RedisClient;
  readonly #shards: number;
  readonly #startDeadlineMs: number;
  readonly #haltedWithinMs: number;
  readonly #beforeBatch: () => Promise<void>;
  readonly #scripts: Scripts;
  readonly #epochs = new EpochMemory();
  readonly #stopped = new AbortController();
  readonly #confirming = new Set<Promise<unknown>>();
  /** What this process is halting just now. */
  readonly #halting = new Map<string, ShardHalting>();

  constructor({
    redis,
    shards,
    replicas,
    startDeadlineMs = START_DEADLINE_MS,
    haltedWithinMs = HALTED_WITHIN_MS,
    beforeBatch = async () => {},
  }: {
    redis: RedisClient;
    shards: number;
    /** How many of a master's have to hold a flip before it counts; `off` waits for all that are connected. Default 0. */
    replicas?: number;
    /** D: how long an executor may take from asking for admission to the start. */
    startDeadlineMs?: number;
    /** How long `off` waits for the last of what it halts before it answers. */
    haltedWithinMs?: number;
    /** For tests that hold it here: before the next few of what it halts. */
    beforeBatch?: () => Promise<void>;
  }) {
    this.#redis = redis;
    this.#shards = shards;
    this.#startDeadlineMs = startDeadlineMs;
    this.#haltedWithinMs = haltedWithinMs;
    this.#beforeBatch = beforeBatch;
    this.#scripts = new Scripts(redis, replicas);
  }

  async read(context: CallContext, tool: string): Promise<SwitchReading> {
    const shard = shardOfTenant(context.tenant, this.#shards);
    const { tenant, environment, agent } = context;
    const ask = { tenant, environment, agent, tool, seen: this.#epochs.seen(shard) };
    const [now, epochText, scope, entryText, why] = ReadReply.parse(
      await this.#scripts.run('switchRead', { shard, ask }),
    );
    const epoch = Number(epochText);
    this.#epochs.remember(shard, epoch);
    if (scope !== '') {
      const entry = offEntryOf(entryText);
      const writes = entry
        ? ({ state: 'off', entry } as const)
        : ({ state: 'closed', why: 'unreadable' } as const);
      return { now, epoch, writes };
    }
    return { now, epoch, writes: why === '' ? { state: 'on' } : { state: 'closed', why: closedBy(why) } };
  }

  async status(tenant?: TenantId): Promise<SwitchStatus> {
    const answers = await this.#everyAnswer((shard) => this.#shardStatus(shard, tenant));
    const highest = answers.reduce((a, b) => (b.epoch > a.epoch ? b : a));
    const off = new Map<string, OffEntry>();
    for (const entry of answers.flatMap((answer) => answer.off)) {
      const known = off.get(scopeKey(entry.scope));
      if (known === undefined || known.since < entry.since) off.set(scopeKey(entry.scope), entry);
    }
    const sum = (of: (answer: ShardStatus) => number) =>
      answers.reduce((total, answer) => total + of(answer), 0);
    return {
      shards: this.#shards,
      answered: answers.length,
      epoch: highest.epoch,
      state: stateOfAll(answers),
      closed: closedOfAll(answers),
      last: highest.last,
      off: [...off.values()].sort((a, b) => a.since - b.since),
      pending: sum((answer) => answer.counts[0]),
      approved: sum((answer) => answer.counts[1]),
      executing: sum((answer) => answer.counts[2]),
    };
  }

  async off(flip: Flip): Promise<OffAnswer> {
    const answers = await this.#everyAnswer((shard) => this.#shardStatus(shard, undefined)).catch(() => []);
    const inFlight = this.#newOff(flip, answers);
    // With nobody there, the operator hears that at once, and not after a second time-out.
    const answer =
      answers.length > 0 ? await this.#carryOut(inFlight) : this.#answerOf(inFlight, foundIn([], false));
    return answer.confirmed ? answer : { ...answer, confirming: this.#keepTrying(inFlight) };
  }

  async on(flip: {
    scope: SwitchScope;
    by: Operator;
    confirmedBy?: readonly PersonId[];
    why: string;
    expectedEpoch: number;
  }): Promise<OnAnswer> {
    const key = scopeKey(flip.scope);
    const answers = await this.#everyAnswer((shard) => this.#shardStatus(shard, undefined));
    const epoch = Math.max(...answers.map((answer) => answer.epoch));
    if (epoch !== flip.expectedEpoch) return { ok: false, refusal: 'epoch_moved', epoch };
    if (!answers.some((answer) => isOff(answer, key))) return { ok: false, refusal: 'not_off' };

    const since = Math.max(...answers.map((answer) => answer.now));
    const next = this.#epochAfter(epoch, since);
    const id = randomUUID();
    const { scope, by, why } = flip;
    const confirmed = flip.confirmedBy === undefined ? {} : { confirmedBy: [...flip.confirmedBy] };
    const notice: SwitchNotice = { kind: 'on', scope, by, ...confirmed, why, since };
    const detail = { scope: key, by, ...confirmed, why, epoch: next, expectedEpoch: flip.expectedEpoch };
    const arm = async (shard: number) => {
      const [word, shardEpoch] = FlipReply.parse(
        await this.#scripts.run('switchOn', {
          shard,
          keys: switchNoticeKeys(shard),
          ask: {
            scope: key,
            expected: flip.expectedEpoch,
            epoch: next,
            lifeMs: PERMIT_LIFE_MS,
            tenant: this.#auditTenant(scope, shard),
            flip: id,
          },
          texts: [by, why, String(since), JSON.stringify(detail), JSON.stringify(notice)],
        }),
      );
      this.#epochs.remember(shard, Number(shardEpoch));
      return { word, epoch: Number(shardEpoch) };
    };

    // Shard 0 first and alone: of two operators who saw the same epoch, it lets one through.
    const arbiter = await arm(0).catch(notHeld);
    if (arbiter === undefined) return { ok: false, refusal: 'not_confirmed', confirmedShards: 0 };
    if (arbiter.word !== 'on') return { ok: false, refusal: 'epoch_moved', epoch: arbiter.epoch };
    const rest = await Promise.allSettled(Array.from({ length: this.#shards - 1 }, (_, i) => arm(i + 1)));
    // Where somebody flips it at the same time, some may have moved on when they are asked. Shard 0 is on by then, so
    // nobody may be told that nothing changed; and whatever that flip turned off is off, whatever ours did.
    const armed =
      rest.filter((result) => result.status === 'fulfilled' && result.value.word === 'on').length + 1;
    if (armed < this.#shards) return { ok: false, refusal: 'not_confirmed', confirmedShards: armed };
    return { ok: true, epoch: next, since };
  }

  async renewPermits(): Promise<PermitsRenewed> {
    const results = await Promise.allSettled(
      this.#allShards().map(async (shard) => {
        const ask = { seen: this.#epochs.seen(shard), lifeMs: PERMIT_LIFE_MS, haltGraceMs: HALT_GRACE_MS };
        const [word, left, epoch] = RenewReply.parse(await this.#scripts.run('switchRenew', { shard, ask }));
        this.#epochs.remember(shard, epoch);
        for (const { key, epoch, cause } of left) {
          // With very many pending it takes longer than this comes round again, and a renewal must not wait for it.
          if (this.#halting.has(haltingName(shard, key, epoch))) continue;
          await this.#haltShard(shard, scopeOfKey(key), epoch, cause).ended;
        }
        return word;
      }),
    );
    if (
      results.every((result) => result.status === 'rejected' && result.reason instanceof StoreUnavailable)
    ) {
      throw (results[0] as PromiseRejectedResult).reason;
    }
    const words = results.map((result) => (result.status === 'fulfilled' ? result.value : 'failed'));
    const renewed = words.filter((word) => word === 'renewed').length;
    const off = words.filter((word) => word === 'off').length;
    const forgotten = words.filter((word) => word === 'forgotten').length;
    return { renewed, off, forgotten, failed: words.length - renewed - off - forgotten };
  }

  /** Ends the attempts to confirm what is not confirmed yet, and halting, which whoever renews permits goes on with. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    const halting = [...this.#halting.values()].map(({ ended }) => ended);
    await Promise.allSettled([...this.#confirming, ...halting]);
  }

  /** Also where nothing could be read: then with a time of our own. Every shard goes above the epoch that it has. */
  #newOff(flip: Flip, answers: readonly ShardStatus[]): OffInFlight {
    const since = answers.length > 0 ? Math.max(...answers.map((answer) => answer.now)) : Date.now();
    const entry: OffEntry = {
      scope: flip.scope,
      by: flip.by,
      why: flip.why,
      since,
      until: flip.forMs === undefined ? undefined : since + flip.forMs,
    };
    const epoch = this.#epochAfter(Math.max(0, ...answers.map((answer) => answer.epoch)), since);
    return { id: randomUUID(), entry, epoch, confirmed: new Map(), tried: false, superseded: false };
  }

  /** One attempt at all shards. */
  async #carryOut(flip: OffInFlight): Promise<OffAnswer> {
    await this.#flipAll(flip);
    // Whoever was admitted just before the flip starts within D of asking, or not at all. Only then is it true that
    // nothing starts; meanwhile there is time to halt.
    const flipped = performance.now();
    const shards = this.#halt(flip);
    const halting = Promise.allSettled(shards.map(({ ended }) => ended)).then((results) => {
      const through = results.every((result) => result.status === 'fulfilled' && result.value);
      return foundIn(shards, through && shards.length === this.#shards);
    });
    const withinMs = Math.max(this.#haltedWithinMs, this.#startDeadlineMs);
    const found = await Promise.race([halting, sleep(withinMs, undefined, { ref: false })]);
    await sleepUntil(flipped + this.#startDeadlineMs);
    if (found !== undefined) return this.#answerOf(flip, found);
    return this.#answerOf(flip, foundIn(shards, false), halting);
  }

  #answerOf(flip: OffInFlight, found: FoundOpen, halting?: Promise<FoundOpen>): OffAnswer {
    return {
      confirmed: flip.confirmed.size === this.#shards,
      shards: this.#shards,
      confirmedShards: flip.confirmed.size,
      epoch: Math.max(flip.epoch, ...flip.confirmed.values()),
      since: flip.entry.since,
      ...found,
      halting,
      confirming: undefined,
    };
  }

  async #flipAll(flip: OffInFlight): Promise<void> {
    const key = scopeKey(flip.entry.scope);
    const { by, why = '', since } = flip.entry;
    const notice = noticeOf(flip.entry);
    const texts = [
      textOfOffEntry(flip.entry),
      by,
      why,
      String(since),
      JSON.stringify({ ...flip.entry, scope: key, epoch: flip.epoch }),
      JSON.stringify(notice),
      JSON.stringify({ ...notice, kind: 'reminder' } satisfies SwitchNotice),
    ];
    const remindAt = flip.entry.until;
    const ask = { scope: key, epoch: flip.epoch, flip: flip.id, retry: flip.tried, remindAt };
    flip.tried = true;
    await Promise.allSettled(
      // Also those that confirmed before: that is how we hear that it was superseded.
      this.#allShards().map(async (shard) => {
        const tenant = this.#auditTenant(flip.entry.scope, shard);
        const keys = switchNoticeKeys(shard);
        // Held by every replica that is connected, or it is no answer: one that takes over must know.
        const reply = await this.#scripts.run('switchOff', { shard, keys, ask: { ...ask, tenant }, texts });
        const [word, epoch] = FlipReply.parse(reply);
        this.#epochs.remember(shard, Number(epoch));
        if (word === 'off') flip.confirmed.set(shard, Number(epoch));
        if (word === 'superseded') flip.superseded = true;
      }),
    );
  }

  #keepTrying(flip: OffInFlight): Promise<OffAnswer | undefined> {
    const trying = async () => {
      for (;;) {
        await sleep(RETRY_MS, undefined, { signal: this.#stopped.signal }).catch(() => {});
        if (this.#stopped.signal.aborted) return;
        const answer = await this.#carryOut(flip);
        if (flip.superseded) return;
        if (answer.confirmed) return answer;
      }
    };
    const confirming = trying().finally(() => this.#confirming.delete(confirming));
    this.#confirming.add(confirming);
    return confirming;
  }

  /** What it does not reach is dead anyway, and halted by whoever touches it or renews permits. */
  #halt(flip: OffInFlight): ShardHalting[] {
    const { scope, by, why } = flip.entry;
    const cause: HaltCause = {
      kind: 'switch',
      scope: scopeKey(scope),
      by,
      why: why?.replace(LONE_SURROGATES, '\ufffd'),
    };
    return [...flip.confirmed].map(([shard, epoch]) => this.#haltShard(shard, scope, epoch, cause));
  }

  #haltShard(shard: number, scope: SwitchScope, epoch: number, cause: HaltCause): ShardHalting {
    const name = haltingName(shard, scopeKey(scope), epoch);
    const known = this.#halting.get(name);
    if (known !== undefined) return known;
    const [halted, executing]: [ProposalId[], ProposalId[]] = [[], []];
    const ended = this.#haltEach(shard, scope, epoch, cause, { halted, executing });
    const halting = { halted, executing, ended: ended.finally(() => this.#halting.delete(name)) };
    this.#halting.set(name, halting);
    return halting;
  }

  async #haltEach(
    shard: number,
    scope: SwitchScope,
    epoch: number,
    cause: HaltCause,
    { halted, executing }: Pick<ShardHalting, 'halted' | 'executing'>,
  ): Promise<boolean> {
    const ids = await this.#openIds(shard, scope);
    for (let from = 0; from < ids.length; from += HALT_BATCH) {
      await this.#beforeBatch();
      if (this.#stopped.signal.aborted) return false;
      const batch = ids.slice(from, from + HALT_BATCH);
      const words = z.array(z.string()).parse(
        await this.#scripts.run('switchHalt', {
          shard,
          keys: batch.map(proposalKey),
          ask: { ids: batch, scope, key: scopeKey(scope), epoch, cause },
        }),
      );
      for (const [i, id] of batch.entries()) {
        if (words[i] === 'halted') halted.push(id);
        if (words[i] === 'executing') executing.push(id);
      }
    }
    await this.#scripts.run('switchHalted', { shard, ask: { scope: scopeKey(scope), epoch } });
    return true;
  }

  /**
   * After the flip nothing in its scope can be added to these, so reading them once is enough: in the order that a call
   * goes through them. What runs comes first, since an operator asks for that first.
   */
  async #openIds(shard: number, scope: SwitchScope): Promise<ProposalId[]> {
    const tenant = scope.tenant;
    const indexOf = (status: OpenStatus) =>
      tenant === undefined ? shardKey(shard, status) : tenantIndexKey(shard, tenant, status);
    const found: string[][] = [];
    for (const status of ['pending', 'ready', 'executing'] as const) {
      found.push(await answerOf(this.#redis, () => this.#redis.zrange(indexOf(status), '0', '-1')));
    }
    return [...new Set(found.reverse().flat())].flatMap((id) => {
      const parsed = ProposalId.safeParse(id);
      return parsed.success ? [parsed.data] : [];
    });
  }

  async #shardStatus(shard: number, tenant: TenantId | undefined): Promise<ShardStatus> {
    const open: readonly OpenStatus[] = ['pending', 'ready', 'executing'];
    const keys = open.map((status) =>
      tenant === undefined ? shardKey(shard, status) : tenantIndexKey(shard, tenant, status),
    );
    const ask = { seen: this.#epochs.seen(shard) };
    const [now, epochText, why, flat, counts] = StatusReply.parse(
      await this.#scripts.run('switchStatus', { shard, keys, ask }),
    );
    const epoch = Number(epochText);
    this.#epochs.remember(shard, epoch);
    const fields = new Map<string, string>();
    for (let i = 0; i + 1 < flat.length; i += 2) fields.set(flat[i] as string, flat[i + 1] as string);
    const offScopes = [...fields.keys()]
      .filter((field) => field.startsWith('off:'))
      .map((field) => field.slice(4));
    const off = offScopes.flatMap((key) => offEntryOf(fields.get(`off:${key}`) ?? '') ?? []);
    return { now, epoch, why, offScopes, off, last: lastFlipOf(fields), counts };
  }

  /** What was answered; rejects only where no shard answers. */
  async #everyAnswer<T>(ask: (shard: number) => Promise<T>): Promise<T[]> {
    const results = await Promise.allSettled(this.#allShards().map(ask));
    const answers = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    if (answers.length === 0) throw (results[0] as PromiseRejectedResult).reason;
    return answers;
  }

  /**
   * Above everything that any shard or this process knows. The first epoch of all is the time: after a flush, the next
   * one is above those that are remembered elsewhere, and above those in terms that somebody kept.
   */
  #epochAfter(epoch: number, now: number): number {
    const seen = Math.max(...this.#allShards().map((shard) => this.#epochs.seen(shard)));
    const highest = Math.max(epoch, seen);
    return highest === 0 ? now : highest + 1;
  }

  /** A flip of one tenant is that tenant's history, in its own shard; elsewhere it only moves the epoch. */
  #auditTenant(scope: SwitchScope, shard: number): string {
    if (scope.tenant === undefined) return '-';
    return shardOfTenant(scope.tenant, this.#shards) === shard ? scope.tenant : '-';
  }

  #allShards(): number[] {
    return Array.from({ length: this.#shards }, (_, shard) => shard);
  }
}

interface ShardStatus {
  readonly now: number;
  readonly epoch: number;
  /** Why writes are not open: '' where they are. */
  readonly why: string;
  readonly offScopes: readonly string[];
  readonly off: readonly OffEntry[];
  readonly last: SwitchStatus['last'];
  readonly counts: readonly [number, number, number];
}

const ReadReply = z.tuple([z.number(), z.string(), z.string(), z.string(), z.string()]);
const FlipReply = z.tuple([z.string(), z.string(), z.number()]);
const StatusReply = z.tuple([
  z.number(),
  z.string(),
  z.string(),
  z.array(z.string()),
  z.tuple([z.number(), z.number(), z.number()]),
]);
const CauseText = z.strictObject({
  kind: z.literal('switch'),
  scope: z.string(),
  by: z.string(),
  why: z.string().optional(),
});
const RenewReply = z.tuple([
  z.string(),
  z.array(z.string()).transform((flat) => {
    const left: { key: string; epoch: number; cause: HaltCause }[] = [];
    for (let i = 0; i + 2 < flat.length; i += 3) {
      const cause = CauseText.parse(JSON.parse(flat[i + 2] as string));
      left.push({ key: flat[i] as string, epoch: Number(flat[i + 1]), cause: { ...cause, why: cause.why } });
    }
    return left;
  }),
  z.coerce.number(),
]);

const LONE_SURROGATES = /[\ud800-\udfff]/gu;

function noticeOf({ scope, by, why, since }: OffEntry): SwitchNotice {
  return { kind: 'off', scope, by, ...(why === undefined ? {} : { why }), since };
}

/** Nobody's entry, and not open: `off` without its entry is nothing that we wrote. */
function closedBy(why: string): Closed {
  return why === 'never_armed' || why === 'permit_lapsed' ? why : 'unreadable';
}

/** One shard that is off or closed makes the whole off or closed; off says more, because people said it. */
function stateOfAll(answers: readonly ShardStatus[]): SwitchStatus['state'] {
  if (answers.some((answer) => answer.why === 'off' || answer.offScopes.includes('*'))) return 'off';
  return answers.some((answer) => answer.why !== '') ? 'closed' : 'on';
}

/** Where shards are closed for different reasons, the one that asks most of people. */
function closedOfAll(answers: readonly ShardStatus[]): Closed | undefined {
  if (stateOfAll(answers) !== 'closed') return undefined;
  const whys = new Set(answers.flatMap(({ why }) => (why === '' ? [] : [closedBy(why)])));
  return (['unreadable', 'never_armed', 'permit_lapsed'] as const).find((why) => whys.has(why));
}

/** By now. */
function foundIn(shards: readonly ShardHalting[], complete: boolean): FoundOpen {
  return {
    halted: shards.flatMap(({ halted }) => halted),
    executing: shards.flatMap(({ executing }) => executing),
    complete,
  };
}

function haltingName(shard: number, scope: string, epoch: number): string {
  return `${shard} ${epoch} ${scope}`;
}

/** It is on there, and a failover may take that back. */
function notHeld(error: unknown): undefined {
  if (!(error instanceof NotHeldByReplicas)) throw error;
}

/** A lapsed permit needs no `on`: it comes back by itself with whoever renews it. */
function isOff(answer: ShardStatus, key: string): boolean {
  if (answer.offScopes.includes(key)) return true;
  return key === '*' && answer.why !== '' && answer.why !== 'permit_lapsed';
}

function lastFlipOf(fields: ReadonlyMap<string, string>): SwitchStatus['last'] {
  const by = operatorOf(fields.get('by') ?? '');
  const since = Number(fields.get('since'));
  if (by === undefined || !Number.isSafeInteger(since)) return undefined;
  const why = fields.get('why');
  return { by, why: why === '' ? undefined : why, since };
}

/** Timers may fire a millisecond early, and here early is a write after the answer. */
async function sleepUntil(monotonicMs: number): Promise<void> {
  for (let left = monotonicMs - performance.now(); left > 0; left = monotonicMs - performance.now()) {
    await sleep(Math.ceil(left));
  }
}
