import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import { z } from 'zod';
import type { SignedAttestation } from '../../src/core/approval/attestation.ts';
import type { SignedDecision } from '../../src/core/approval/decision.ts';
import type { LoadedPolicy } from '../../src/core/policy/policy.ts';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { recordBoxKeys, type SealedTerms } from '../../src/core/proposal/seal.ts';
import { boxKeyId } from '../../src/core/secrets/sealed-box.ts';
import { defineTool, type ToolDefinition, type ToolRun } from '../../src/core/tool/tool.ts';
import { ToolRegistry } from '../../src/core/tool/tool-registry.ts';
import { createGuard, type OpenGuard } from '../../src/create-guard.ts';
import { type Attempt, Execution, type ExecutionParts } from '../../src/queue/execution.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { Boxes } from '../../src/redis/boxes.ts';
import { proposalKey } from '../../src/redis/keys.ts';
import { RunningParts, SHARDS } from '../queue/running-parts.ts';
import { PROPOSAL_KEY } from '../queue/sealed-call.ts';
import type { RedisForTests } from '../redis-for-tests.ts';

/** One Redis, the real store, switch, guard and executors over it, and tools that write down what they were given. */
export class AttackedParts extends RunningParts {
  /** What really ran, in its order: the tool, its arguments, and where. */
  readonly ran: { tool: string; args: unknown; run: ToolRun }[] = [];
  readonly tools: readonly ToolDefinition[] = [
    this.tool('ticket.close', z.strictObject({ ticket: z.string(), note: z.string().optional() })),
    this.tool('ticket.create', z.strictObject({ title: z.string() })),
    this.tool('db.write', z.strictObject({ row: z.int() })),
  ];
  /** As many as the test opens; closed after it. */
  readonly guards: OpenGuard[] = [];
  readonly #connection: { path: string };
  readonly #boxes = new Boxes(recordBoxKeys([PROPOSAL_KEY]));
  #tickets = 0;

  constructor(connection: { path: string }) {
    super(connection);
    this.#connection = connection;
  }

  tool(
    name: string,
    input: z.ZodObject,
    more: Partial<Parameters<typeof defineTool>[0]> = {},
  ): ToolDefinition {
    const descriptions: Record<string, string> = {
      'ticket.close': 'Closes a ticket.',
      'ticket.create': 'Opens a ticket.',
      'db.write': 'Writes a row.',
    };
    return defineTool({
      name,
      description: descriptions[name] ?? name,
      effect: 'write',
      input,
      execute: (args, run) => {
        this.ran.push({ tool: name, args, run });
        return { done: true };
      },
      ...more,
    });
  }

  /** Arguments that no other call of this file has. */
  ticket(): { ticket: string } {
    this.#tickets += 1;
    return { ticket: `T-${this.#tickets}` };
  }

  /** With time enough between admission and start: a busy machine is none of the attacks. */
  executorParts(changes: Partial<ExecutionParts> = {}): ExecutionParts {
    const [first] = this.tools;
    return {
      ...this.executionParts(first as ToolDefinition),
      registry: new ToolRegistry(this.tools),
      startDeadlineMs: 10_000,
      ...changes,
    };
  }

  /** A process that remembers nothing of what others started. */
  executor(changes: Partial<ExecutionParts> = {}): Execution {
    return new Execution(this.executorParts(changes));
  }

  attempt(id: ProposalId, changes: Partial<ExecutionParts> = {}): Promise<Attempt> {
    return this.executor(changes).attempt(id);
  }

  under(policy: LoadedPolicy): Partial<ExecutionParts> {
    return { policy: { current: policy } };
  }

  guard(changes: Partial<Parameters<typeof createGuard>[0]> = {}): OpenGuard {
    const opened = createGuard({
      policy: this.policy,
      tools: this.tools,
      redis: this.#connection,
      proposalKey: PROPOSAL_KEY,
      shards: SHARDS,
      logger: this.logger,
      ...changes,
    });
    this.guards.push(opened);
    return opened;
  }

  /** What whoever can write Redis does to a record, and besides could seal boxes: what is in them is not believed either. A box stays as it is. */
  async tamper(id: ProposalId, fields: Record<string, string>): Promise<void> {
    const { terms } = fields;
    const seal = terms !== undefined && boxKeyId(terms) === undefined;
    const boxed = seal ? { terms: this.#boxes.seal(terms, id, 'terms') } : {};
    await this.redis.hset(proposalKey(id), { ...fields, ...boxed });
  }

  async field(id: ProposalId, name: string): Promise<string> {
    const text = (await this.redis.hget(proposalKey(id), name)) ?? '';
    const opened = this.#boxes.open(text, id, name);
    return opened.ok ? opened.text : text;
  }

  /** Writes into the record that these people approved it, and that they still may. */
  async forgeApproved(
    { terms }: SealedTerms,
    votes: readonly SignedDecision[],
    attestation?: SignedAttestation,
  ): Promise<void> {
    const now = await this.store.now();
    const people = votes.map(({ statement }) => statement.person);
    await this.tamper(terms.id, {
      status: 'approved',
      approvedAt: String(now),
      startBefore: String(now + 60_000),
      voters: JSON.stringify(people),
      ...Object.fromEntries(people.map((person, i) => [`vote:${person}`, JSON.stringify(votes[i])])),
      ...(attestation === undefined ? {} : { attestation: JSON.stringify(attestation) }),
    });
  }

  /** Puts the record of now back when it is called. */
  async copyOf({ terms }: SealedTerms): Promise<() => Promise<unknown>> {
    const key = proposalKey(terms.id);
    const copy = await this.redis.dumpBuffer(key);
    return () => this.redis.restore(key, '0', copy, 'REPLACE');
  }

  async entries(id: ProposalId, kind: string): Promise<Record<string, unknown>[]> {
    const log = new AuditLogRedis({ redis: this.redis, shards: SHARDS });
    const entries = await log.read({ proposal: id, limit: 100 });
    return entries.filter((entry) => entry.kind === kind).map(({ detail }) => detail);
  }

  async alarms(id: ProposalId): Promise<unknown[]> {
    return (await this.entries(id, 'alarm.raised')).map(({ refusal }) => refusal);
  }

  /** Halted for just this reason, with an alarm, and nothing ran. */
  async refusedWithAlarm(id: ProposalId, refusal: string, changes: Partial<ExecutionParts> = {}) {
    expect(await this.attempt(id, changes)).toMatchObject({ next: 'done', status: 'halted' });
    expect(this.ran).toEqual([]);
    expect(await this.alarms(id)).toEqual([refusal]);
  }

  /** Halted for just this reason, which is no alarm: the world moved on. */
  async refused(id: ProposalId, refusal: string, changes: Partial<ExecutionParts> = {}) {
    expect(await this.attempt(id, changes)).toMatchObject({ next: 'done', status: 'halted' });
    expect(this.ran).toEqual([]);
    const halted = await this.entries(id, 'proposal.halted');
    expect(halted.map((detail) => detail.refusal)).toEqual([refusal]);
    expect(await this.alarms(id)).toEqual([]);
  }
}

/**
 * Shared by the tests of the file that calls this at its top, over a Redis that is not emptied between them: its parts
 * remember the switch's epoch, and would believe no earlier one. Writes are on at the beginning of each test.
 */
export function attackedParts(redis: RedisForTests): AttackedParts {
  let made: AttackedParts | undefined;
  beforeAll(() => {
    made = new AttackedParts(redis.connectionOptions);
  });
  beforeEach(async () => {
    made?.ran.splice(0);
    if ((await made?.writeSwitch.status())?.state !== 'on') await made?.armWrites();
  });
  afterEach(async () => {
    for (const guard of made?.guards.splice(0) ?? []) await guard.close();
  });
  afterAll(() => made?.close());
  return new Proxy({} as AttackedParts, {
    get(_, name) {
      if (made === undefined) throw new Error('attackedParts: use it inside a test');
      const value: unknown = Reflect.get(made, name, made);
      return typeof value === 'function' ? value.bind(made) : value;
    },
  });
}
