import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { QueueEvents } from 'bullmq';
import { Sealer } from '../../src/audit-files/sealer.ts';
import { verifyAudit } from '../../src/audit-files/verify.ts';
import { type AuditPrivateKey, auditKeyId, auditPublicKeyOf } from '../../src/core/audit/checkpoint.ts';
import { CallContext } from '../../src/core/identity/call-context.ts';
import { TERMINAL_STATUSES } from '../../src/core/proposal/proposal.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { ExecutionWorker } from '../../src/queue/execution-worker.ts';
import { QUEUE_NAME, queuePrefix } from '../../src/queue/proposal-queue.ts';
import { Sweeper } from '../../src/queue/sweeper.ts';
import { Waiter } from '../../src/queue/waiter.ts';
import { AuditStreamRedis } from '../../src/redis/audit-stream-redis.ts';
import { ProposalNewsRedis } from '../../src/redis/proposal-news-redis.ts';
import { RunningParts, SHARDS } from '../queue/running-parts.ts';
import { ANA, approvalOf, closeTicketWith, sealedCall } from '../queue/sealed-call.ts';
import type { Tally } from './tally.ts';

const LIMITS = { pendingPerAgent: 1_000, pendingPerTenant: 1_000 };
const AGENTS = 8;
const EXECUTORS = 2;
/** How long after a fault is over everything has to be settled. */
const SETTLED_WITHIN_MS = 90_000;
const OFF_FOR_MS = 150;
const ON_FOR_MS = 1_200;

type Decision = 'approve' | 'deny';

/**
 * Agents that propose and wait, people who decide, operators who flip, executors, sweeper and sealer, all at work at once
 * over the real store, queue and files, through one path to Redis. Who gets no answer tries again, as people do; what
 * was answered is what has to hold.
 */
export class BusyHouse {
  readonly parts: RunningParts;
  readonly directory = mkdtempSync(join(tmpdir(), 'cs-busy-'));
  /** How often the tool ran, by ticket. */
  readonly ran = new Map<string, number>();
  /** Tool runs that began after an `off` had been answered and before the `on` that followed it. */
  startedWhileOff = 0;
  flips = 0;
  readonly #acknowledged = new Map<SealedTerms, Decision>();
  readonly #results = new Map<SealedTerms, string>();
  readonly #keys = generateKeyPairSync('ed25519');
  readonly #workers: ExecutionWorker[] = [];
  readonly #waiter: Waiter;
  readonly #sweeper: Sweeper;
  readonly #sealer: Sealer;
  /** As a Bull Board has them: nobody who waits depends on these. */
  readonly #events: QueueEvents[];
  readonly #ending = new AbortController();
  readonly #giveUp = new AbortController();
  #working: Promise<unknown>[] = [];
  #off = false;
  #ticket = 0;

  private constructor(path: string) {
    this.parts = new RunningParts({ path });
    const { store, redis, subscriber, dispatch, logger } = this.parts;
    this.#waiter = new Waiter({ store, news: new ProposalNewsRedis({ subscriber, shards: SHARDS }) });
    this.#events = Array.from({ length: SHARDS }, (_, shard) => {
      const events = new QueueEvents(QUEUE_NAME, { connection: { path }, prefix: queuePrefix(shard) });
      events.on('error', () => {});
      return events;
    });
    this.#sweeper = new Sweeper({ store, dispatch, logger, intervalMs: 300 });
    const stream = new AuditStreamRedis({ redis, shards: SHARDS });
    const key = this.#keys.privateKey as AuditPrivateKey;
    this.#sealer = new Sealer({
      stream,
      directory: join(this.directory, 'audit'),
      key,
      logger,
      pollMs: 100,
      retryMs: 200,
    });
  }

  static async start(path: string): Promise<BusyHouse> {
    const house = new BusyHouse(path);
    await house.parts.armWrites();
    await house.#sealer.start();
    house.#sweeper.start();
    for (let i = 0; i < EXECUTORS; i++) house.#workers.push(house.#executor(i));
    house.#working = [
      ...Array.from({ length: AGENTS }, () => house.#agent()),
      house.#operator(),
      house.#attesting(),
    ];
    return house;
  }

  get decided(): number {
    return this.#acknowledged.size;
  }

  /** Lets everything come to its end, counts what was promised and did not hold, and verifies the audit. */
  async end(row: Tally): Promise<{ lost: number; doubled: number; stuck: number; audit: string }> {
    this.#ending.abort();
    const late = setTimeout(() => this.#giveUp.abort(), SETTLED_WITHIN_MS);
    await Promise.all(this.#working);
    clearTimeout(late);
    const { store } = this.parts;
    let lost = 0;
    let stuck = 0;
    let doubled = this.startedWhileOff;
    for (const [sealed, decision] of this.#acknowledged) {
      const record = await store.read(sealed.terms.id);
      const status = record?.state.status;
      const runs = this.ran.get(ticketOf(sealed)) ?? 0;
      if (status === undefined || status === 'pending') lost += 1;
      else if (decision === 'deny' && status !== 'denied') lost += 1;
      // What the agent was told is what stands there for good.
      else if (!TERMINAL_STATUSES.has(status) || this.#results.get(sealed) !== status) stuck += 1;
      if (decision === 'deny' || status === 'halted') doubled += runs;
      else doubled += Math.max(0, runs - 1);
      if (status === 'succeeded' && runs === 0) lost += 1;
    }
    for (const worker of this.#workers) await worker.stop({ graceMs: 500 });
    // One whose connection is silent would wait for its word.
    await Promise.race([Promise.all(this.#events.map((events) => events.close())), sleep(2_000)]);
    await this.#sweeper.stop();
    await this.#sealer.stop();
    const audit = this.verdict();
    await this.parts.close();
    rmSync(this.directory, { recursive: true, force: true });
    row.lost(lost);
    row.doubled(doubled);
    row.stuck(stuck);
    row.audit(audit === 'intact');
    return { lost, doubled, stuck, audit };
  }

  verdict(): string {
    const key = auditPublicKeyOf(this.#keys.publicKey.export({ type: 'spki', format: 'pem' }) as string);
    return verifyAudit(join(this.directory, 'audit'), { keys: new Map([[auditKeyId(key), key]]) }).verdict;
  }

  #executor(number: number): ExecutionWorker {
    const tool = closeTicketWith(async (args) => {
      const { ticket } = args as { ticket: string };
      this.ran.set(ticket, (this.ran.get(ticket) ?? 0) + 1);
      if (this.#off) this.startedWhileOff += 1;
      await sleep(30);
      return { closed: ticket };
    });
    const worker = new ExecutionWorker({
      ...this.parts.executionParts(tool, { executorId: `busy:${number}` }),
      dispatch: this.parts.dispatch,
      connection: this.parts.redis,
      shards: SHARDS,
    });
    worker.start();
    return worker;
  }

  async #agent(): Promise<void> {
    while (!this.#ending.signal.aborted) {
      const sealed = await this.#propose();
      if (sealed === undefined) await sleep(20);
      else await this.#decideAndWait(sealed);
    }
  }

  /** Undefined where writes are off, or nobody knows whether it was made: then nobody waits for it. */
  async #propose(): Promise<SealedTerms | undefined> {
    const { store, writeSwitch, dispatch } = this.parts;
    this.#ticket += 1;
    const args = { ticket: `T-${this.#ticket}` };
    try {
      const context = CallContext.parse(sealedCall().terms.context);
      const reading = await writeSwitch.read(context, 'ticket.close');
      if (reading.writes.state !== 'on') return undefined;
      const sealed = sealedCall({
        shards: SHARDS,
        now: reading.now,
        switchEpoch: reading.epoch,
        args,
      });
      const made = await store.create(sealed, LIMITS);
      if (made.created !== 'new') return undefined;
      const scheduled = dispatch.schedule(sealed.terms.id, sealed.terms.deadline - reading.now);
      // As the guard does: the sweeper sees to a job that could not be made.
      await scheduled.catch(() => {});
      return sealed;
    } catch {
      return undefined;
    }
  }

  async #decideAndWait(sealed: SealedTerms): Promise<void> {
    const terminal = this.#waiter
      .waitFor(sealed.terms.id, ({ state }) => TERMINAL_STATUSES.has(state.status), {
        signal: this.#giveUp.signal,
      })
      .then(
        ({ state }) => state.status,
        () => 'never heard',
      );
    const decision: Decision = this.#ticket % 6 === 0 ? 'deny' : 'approve';
    if (!(await this.#decide(sealed, decision))) return;
    this.#acknowledged.set(sealed, decision);
    this.#results.set(sealed, await terminal);
  }

  /** True where it was answered that this decision counts. Whoever gets no answer clicks again. */
  async #decide(sealed: SealedTerms, decision: Decision): Promise<boolean> {
    const { store, dispatch } = this.parts;
    while (!this.#giveUp.signal.aborted) {
      try {
        const at = await store.now();
        const decided = await store.decide(approvalOf(sealed, ANA, { at, decision, reason: 'checked' }));
        // Halted meanwhile; or the click that nobody answered counted after all, which nobody acknowledged.
        if (!decided.ok) return false;
        await this.#attest(sealed).catch(() => {});
        await dispatch.wake(sealed.terms.id).catch(() => {});
        return true;
      } catch {
        await sleep(50);
      }
    }
    return false;
  }

  async #attest(sealed: SealedTerms): Promise<void> {
    const record = await this.parts.store.read(sealed.terms.id);
    if (record?.state.status === 'approved' && record.attestation === undefined)
      await this.parts.attest(sealed);
  }

  /** What the approval service does in rounds, for decisions that it could not attest at once. */
  async #attesting(): Promise<void> {
    const waiting = () => [...this.#acknowledged.keys()].filter((sealed) => !this.#results.has(sealed));
    while (!this.#giveUp.signal.aborted && !(this.#ending.signal.aborted && waiting().length === 0)) {
      for (const sealed of waiting()) await this.#attest(sealed).catch(() => {});
      await sleep(300);
    }
  }

  async #operator(): Promise<void> {
    const { writeSwitch } = this.parts;
    while (!this.#ending.signal.aborted) {
      await sleep(ON_FOR_MS);
      const off = await writeSwitch
        .off({ scope: EVERYTHING, by: 'cli:test', why: 'a look' })
        .catch(() => undefined);
      if (off?.confirmed === true) {
        this.#off = true;
        this.flips += 1;
        await sleep(OFF_FOR_MS);
        this.#off = false;
      }
      await this.#arm();
    }
    await this.#arm();
  }

  async #arm(): Promise<void> {
    while (!this.#giveUp.signal.aborted) {
      try {
        const { epoch, state } = await this.parts.writeSwitch.status();
        if (state === 'on') return;
        await this.parts.writeSwitch.on({
          scope: EVERYTHING,
          by: 'cli:test',
          why: 'seen',
          expectedEpoch: epoch,
        });
        await this.parts.writeSwitch.renewPermits();
      } catch {
        // Asked again.
      }
      await sleep(100);
    }
  }
}

function ticketOf(sealed: SealedTerms): string {
  const { ticket } = JSON.parse(sealed.terms.arguments) as { ticket: string };
  return ticket;
}
