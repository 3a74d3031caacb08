import { generateKeyPairSync } from 'node:crypto';
import { Queue } from 'bullmq';
import { afterAll, beforeAll, expect } from 'vitest';
import type { SignedAttestation } from '../../src/core/approval/attestation.ts';
import type { ApprovalPrivateKey, SignedDecision } from '../../src/core/approval/decision.ts';
import { newProposalId, shardOfProposal } from '../../src/core/proposal/proposal-id.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { ExecutionWorker } from '../../src/queue/execution-worker.ts';
import { JOB_NAME, QUEUE_NAME, queuePrefix } from '../../src/queue/proposal-queue.ts';
import { proposalKey } from '../../src/redis/keys.ts';
import { SHARDS } from '../queue/running-parts.ts';
import { ANA, approvalOf, attestationOf, BEN, type CallCase, sealedCall } from '../queue/sealed-call.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { type AttackCase, attackRow } from './attack-row.ts';
import { attackedParts } from './attacked-parts.ts';

const redis = redisForTests({ emptied: 'once' });
const parts = attackedParts(redis);

const SOON = { timeout: 15_000 };

const proposed = (call: CallCase = {}) => parts.propose({ args: parts.ticket(), ...call });
const approved = (call: CallCase = {}) => parts.approvedCall({ args: parts.ticket(), ...call });
const mallory = generateKeyPairSync('ed25519').privateKey as ApprovalPrivateKey;

/** A pending call, and an approval for it that nobody gave: made from whatever is at hand. */
const approvals: [string, string, (sealed: SealedTerms, now: number) => Promise<SignedDecision>][] = [
  ['of another proposal', 'approval_of_another', async (_, at) => approvalOf(await proposed(), ANA, { at })],
  [
    'of the same call of another tenant',
    'approval_of_another',
    async ({ terms }, at) => {
      const args = JSON.parse(terms.arguments);
      const context = { tenant: 'globex', principal: 'slack:T0GLOBEX/U0GIL' };
      return approvalOf(await parts.propose({ args, context }), ANA, { at });
    },
  ],
  [
    'of the same call in another environment',
    'approval_of_another',
    async ({ terms }, at) => {
      const args = JSON.parse(terms.arguments);
      return approvalOf(await parts.propose({ args, context: { environment: 'staging' } }), ANA, { at });
    },
  ],
  [
    'of an earlier making of this very proposal, with another nonce',
    'approval_of_another',
    async ({ terms }, at) => {
      const earlier = sealedCall({ change: () => ({ ...terms, nonce: '0'.repeat(32) }) });
      return approvalOf(earlier, ANA, { at });
    },
  ],
  [
    'of this proposal before it was changed',
    'approval_of_another',
    async ({ terms }, at) => {
      const before = sealedCall({ change: () => ({ ...terms, arguments: '{"ticket":"T-before"}' }) });
      return approvalOf(before, ANA, { at });
    },
  ],
  [
    'of another proposal, its id and nonce written over',
    'approval_forged',
    async (sealed, at) => {
      const theirs = approvalOf(await proposed(), ANA, { at });
      return { ...theirs, statement: approvalOf(sealed, ANA, { at }).statement };
    },
  ],
  [
    'made from somebody’s denial',
    'approval_forged',
    async (sealed, at) => {
      const { statement, signature } = approvalOf(sealed, ANA, { at, decision: 'deny', reason: 'no' });
      return { statement: { ...statement, decision: 'approve' }, signature };
    },
  ],
  [
    'of Ana in the name of Ben',
    'approval_forged',
    async (sealed, at) => {
      const { statement, signature } = approvalOf(sealed, ANA, { at });
      return { statement: { ...statement, person: BEN }, signature };
    },
  ],
  [
    'with another reason',
    'approval_forged',
    async (sealed, at) => {
      const { statement, signature } = approvalOf(sealed, ANA, { at, reason: 'seen' });
      return { statement: { ...statement, reason: 'seen, and checked' }, signature };
    },
  ],
  [
    'signed with a key of one’s own',
    'approval_forged',
    async (sealed, at) => approvalOf(sealed, ANA, { at }, mallory),
  ],
  [
    'under the signature of an attestation',
    'approval_forged',
    async (sealed, at) => {
      const { signature } = attestationOf(sealed, [ANA], { at });
      return { ...approvalOf(sealed, ANA, { at }), signature };
    },
  ],
  [
    'under no signature',
    'approval_forged',
    async (sealed, at) => ({ ...approvalOf(sealed, ANA, { at }), signature: '' }),
  ],
  [
    'under half a signature',
    'approval_forged',
    async (sealed, at) => {
      const approval = approvalOf(sealed, ANA, { at });
      return { ...approval, signature: approval.signature.slice(0, 43) };
    },
  ],
  [
    'from before the proposal was made',
    'approval_out_of_time',
    async (sealed) => approvalOf(sealed, ANA, { at: sealed.terms.createdAt - 1 }),
  ],
  [
    'from the moment of its deadline',
    'approval_out_of_time',
    async (sealed) => approvalOf(sealed, ANA, { at: sealed.terms.deadline }),
  ],
];
const replayed: AttackCase[] = approvals.map(([title, refusal, make]) => [
  `[approval:signed-outside-redis] an approval ${title}`,
  async () => {
    const sealed = await proposed();
    const at = await parts.store.now();
    const attested = attestationOf(sealed, [ANA, BEN], { at });
    await parts.forgeApproved(sealed, [await make(sealed, at)], attested);
    await parts.refusedWithAlarm(sealed.terms.id, refusal);
  },
]);

/** Approved by Ana; the word that she still may is another one. `again`: it may still come. */
const words: [string, string | 'again', (sealed: SealedTerms, now: number) => Promise<SignedAttestation>][] =
  [
    ['an old one', 'again', async (sealed, at) => attestationOf(sealed, [ANA], { at: at - 60_000 })],
    ['one from the future', 'again', async (sealed, at) => attestationOf(sealed, [ANA], { at: at + 60_000 })],
    ['one for somebody else', 'again', async (sealed, at) => attestationOf(sealed, [BEN], { at })],
    [
      'one about another proposal',
      'attestation_forged',
      async (_, at) => attestationOf(await proposed(), [ANA], { at }),
    ],
    [
      'one about an earlier nonce',
      'attestation_forged',
      async (sealed, at) => attestationOf(sealed, [ANA], { at, nonce: '0'.repeat(32) }),
    ],
    [
      'one that is signed with a key of one’s own',
      'attestation_forged',
      async (sealed, at) => attestationOf(sealed, [ANA], { at }, mallory),
    ],
    [
      'an old one with a new time',
      'attestation_forged',
      async (sealed, at) => {
        const { statement, signature } = attestationOf(sealed, [ANA], { at: at - 120_000 });
        return { statement: { ...statement, at }, signature };
      },
    ],
    [
      'one for somebody else with a name added',
      'attestation_forged',
      async (sealed, at) => {
        const { statement, signature } = attestationOf(sealed, [BEN], { at });
        return { statement: { ...statement, approvers: [BEN, ANA] }, signature };
      },
    ],
  ];
const attested: AttackCase[] = words.map(([title, refusal, make]) => [
  `[approval:signed-outside-redis] the word that the approver still may: ${title}`,
  async () => {
    const sealed = await approved();
    const { id } = sealed.terms;
    const word = await make(sealed, await parts.store.now());
    await parts.tamper(id, { attestation: JSON.stringify(word) });
    if (refusal !== 'again') return parts.refusedWithAlarm(id, refusal);
    expect(await parts.attempt(id)).toMatchObject({ next: 'again', status: 'approved' });
    expect(parts.ran).toEqual([]);
  },
]);

/** The record as it was when it was approved, put back after something else became of it. */
const ends: [string, (sealed: SealedTerms) => Promise<unknown>][] = [
  ['it ran', ({ terms }) => parts.attempt(terms.id)],
  ['an executor took it', ({ terms, termsDigest }) => admitted(terms.id, termsDigest)],
  [
    'its executor was lost and it was settled as unknown',
    async ({ terms, termsDigest }) => {
      await admitted(terms.id, termsDigest);
      await parts.tamper(terms.id, { leaseUntil: '1' });
      expect(await parts.store.declareUnknown(terms.id, 'lost')).toBe('settled');
    },
  ],
  [
    'the executor refused it',
    ({ terms }) => parts.store.refuse(terms.id, { refusal: 'x', message: 'x', alarm: false }),
  ],
  [
    'its time to start was over',
    async ({ terms }) => {
      await parts.tamper(terms.id, { startBefore: '1' });
      expect(await parts.store.expire(terms.id)).toBe('settled');
    },
  ],
];
const putBack: AttackCase[] = ends.map(([title, end]) => [
  `[approval:single-use] a copy of the approved record, put back after ${title}`,
  async () => {
    const sealed = await approved();
    const { id } = sealed.terms;
    const restore = await parts.copyOf(sealed);
    await end(sealed);
    const before = parts.ran.length;
    await restore();
    expect(await parts.statusOf(id)).toBe('approved');
    expect(await parts.attempt(id)).toMatchObject({ next: 'done', status: 'halted' });
    expect(parts.ran).toHaveLength(before);
    expect(await parts.alarms(id)).toEqual(['put_back']);
  },
]);

const admitted = (id: SealedTerms['terms']['id'], termsDigest: string) =>
  parts.store.admit({ id, termsDigest, admission: 'a'.repeat(32), executor: 'other', leaseMs: 60_000 });

const elsewhere: AttackCase[] = [
  [
    '[approval:single-use] the record and the marks of what was spent, put back together: the executor that ran it knows',
    async () => {
      const sealed = await approved();
      const { id } = sealed.terms;
      const restore = await parts.copyOf(sealed);
      const executor = parts.executor();
      expect(await executor.attempt(id)).toMatchObject({ status: 'succeeded' });
      await restore();
      await parts.redis.zrem(`{s${shardOfProposal(id)}}:spent`, id);
      expect(await executor.attempt(id)).toMatchObject({ next: 'done', status: 'halted' });
      expect(parts.ran).toHaveLength(1);
      expect(await parts.alarms(id)).toEqual(['already_started']);
    },
  ],
  [
    '[switch:off-then-on-resurrects-nothing] a copy of the approved record, put back after off and on',
    async () => {
      const sealed = await approved();
      const { id } = sealed.terms;
      const restore = await parts.copyOf(sealed);
      await parts.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test', why: 'incident' });
      await parts.armWrites();
      await restore();
      await parts.redis.zrem(`{s${shardOfProposal(id)}}:spent`, id);
      expect(await parts.attempt(id)).toMatchObject({ next: 'done', status: 'halted' });
      expect(parts.ran).toEqual([]);
    },
  ],
  ...(['as it is', 'its id field written over'] as const).map(
    (how): AttackCase => [
      `[approval:bound-to-everything] an approved record, copied to another id, ${how}`,
      async () => {
        const { terms } = await approved();
        const other = newProposalId(shardOfProposal(terms.id), crypto.getRandomValues(new Uint8Array(24)));
        await parts.redis.copy(proposalKey(terms.id), proposalKey(other));
        if (how !== 'as it is') await parts.tamper(other, { id: other });
        await parts.refusedWithAlarm(other, how === 'as it is' ? 'record_malformed' : 'seal_broken');
      },
    ],
  ),
];

/** Jobs that somebody made by hand, before the eyes of a real worker. */
let worker: ExecutionWorker;
const queues: Queue[] = [];
beforeAll(async () => {
  for (let shard = 0; shard < SHARDS; shard += 1) {
    queues.push(new Queue(QUEUE_NAME, { connection: redis.connectionOptions, prefix: queuePrefix(shard) }));
  }
});
afterAll(async () => {
  for (const queue of queues) await queue.close();
});

async function withWorker(work: () => Promise<void>): Promise<void> {
  worker = new ExecutionWorker({
    ...parts.executorParts(),
    dispatch: parts.dispatch,
    connection: parts.redis,
    shards: SHARDS,
  });
  worker.start();
  try {
    await worker.ready();
    await work();
  } finally {
    await worker.stop({ graceMs: 5_000 });
  }
}

const queueOf = ({ terms }: SealedTerms) => queues[shardOfProposal(terms.id)] as Queue;

/** Waits until the worker has looked at the job: it ended, or was put to sleep again. */
async function lookedAt(queue: Queue, jobId: string): Promise<void> {
  await expect
    .poll(async () => (await queue.getJob(jobId))?.getState(), SOON)
    .toMatch(/^(completed|failed|delayed)$/);
}

const pendingJobs: [string, (sealed: SealedTerms, queue: Queue) => Promise<string>][] = [
  [
    'its own job, promoted',
    async ({ terms }, queue) => {
      await (await queue.getJob(terms.id))?.promote();
      return terms.id;
    },
  ],
  [
    'a job under a suffixed id',
    async ({ terms: { id } }, queue) => (await queue.add(JOB_NAME, { id }, { jobId: `${id}.7` })).id ?? '',
  ],
  [
    'a job of another name',
    async ({ terms: { id } }, queue) => (await queue.add('execute', { id }, { jobId: `x-${id}` })).id ?? '',
  ],
  [
    'a job that brings arguments',
    async ({ terms: { id } }, queue) => {
      const data = { id, args: { ticket: 'T-evil' }, status: 'approved' };
      return (await queue.add(JOB_NAME, data, { jobId: `a-${id}` })).id ?? '';
    },
  ],
  [
    'a job that asks for a thousand attempts',
    async ({ terms: { id } }, queue) =>
      (await queue.add(JOB_NAME, { id, approved: true }, { jobId: `n-${id}`, attempts: 1_000 })).id ?? '',
  ],
  [
    'a job in the queue of another shard',
    async ({ terms: { id } }) => {
      const other = queues[1 - shardOfProposal(id)] as Queue;
      return (await other.add(JOB_NAME, { id }, { jobId: `s-${id}` })).id ?? '';
    },
  ],
];
const jobs: AttackCase[] = [
  ...pendingJobs.map(
    ([title, make]): AttackCase => [
      `[approval:single-use] for a proposal that waits for people: ${title}`,
      () =>
        withWorker(async () => {
          const sealed = await proposed();
          const jobId = await make(sealed, queueOf(sealed));
          const shard = title.includes('another shard') ? 1 - shardOfProposal(sealed.terms.id) : undefined;
          await lookedAt(shard === undefined ? queueOf(sealed) : (queues[shard] as Queue), jobId);
          expect(await parts.statusOf(sealed.terms.id)).toBe('pending');
          expect(parts.ran).toEqual([]);
        }),
    ],
  ),
  [
    '[approval:single-use] the completed job of a call that ran, removed and added again',
    () =>
      withWorker(async () => {
        const sealed = await approved();
        const queue = queueOf(sealed);
        const { id } = sealed.terms;
        await parts.dispatch.wake(id);
        await expect.poll(() => parts.statusOf(id), SOON).toBe('succeeded');
        await expect.poll(async () => (await queue.getJob(id))?.getState(), SOON).toBe('completed');
        await (await queue.getJob(id))?.remove();
        await queue.add(JOB_NAME, { id }, { jobId: id });
        await expect.poll(async () => (await queue.getJob(id))?.getState(), SOON).toBe('completed');
        expect(parts.ran).toHaveLength(1);
      }),
  ],
  [
    '[approval:single-use] the completed job of a call that ran, retried',
    () =>
      withWorker(async () => {
        const sealed = await approved();
        const queue = queueOf(sealed);
        const { id } = sealed.terms;
        await parts.dispatch.wake(id);
        await expect.poll(async () => (await queue.getJob(id))?.getState(), SOON).toBe('completed');
        const first = (await queue.getJob(id))?.finishedOn;
        await (await queue.getJob(id))?.retry('completed');
        await expect.poll(async () => (await queue.getJob(id))?.finishedOn ?? first, SOON).not.toBe(first);
        expect(parts.ran).toHaveLength(1);
      }),
  ],
];

attackRow(2, {
  attacks: [...replayed, ...attested, ...putBack, ...elsewhere, ...jobs],
  twins: [
    [
      'the approval of this very proposal, copied in by hand where it was, is the approval it was',
      async () => {
        const sealed = await proposed();
        const at = await parts.store.now();
        const own = approvalOf(sealed, ANA, { at });
        await parts.forgeApproved(sealed, [own], attestationOf(sealed, [ANA], { at }));
        expect(await parts.attempt(sealed.terms.id)).toMatchObject({ status: 'succeeded' });
      },
    ],
    [
      'a copy of an approved record, put back before it ran, runs once',
      async () => {
        const sealed = await approved();
        await (await parts.copyOf(sealed))();
        expect(await parts.attempt(sealed.terms.id)).toMatchObject({ status: 'succeeded' });
        await parts.attempt(sealed.terms.id);
        expect(parts.ran).toHaveLength(1);
      },
    ],
    [
      'a newer word that the approver still may takes the place of the older one',
      async () => {
        const sealed = await approved();
        await parts.attest(sealed);
        expect(await parts.attempt(sealed.terms.id)).toMatchObject({ status: 'succeeded' });
      },
    ],
    [
      'the own job of an approved call, delivered, runs it',
      () =>
        withWorker(async () => {
          const sealed = await approved();
          await parts.dispatch.wake(sealed.terms.id);
          await expect.poll(() => parts.statusOf(sealed.terms.id), SOON).toBe('succeeded');
          expect(parts.ran).toHaveLength(1);
        }),
    ],
    [
      'the same two calls, each approved by itself, both run',
      async () => {
        const args = parts.ticket();
        for (const sealed of [await approved({ args }), await approved({ args })]) {
          expect(await parts.attempt(sealed.terms.id)).toMatchObject({ status: 'succeeded' });
        }
        expect(parts.ran).toHaveLength(2);
      },
    ],
  ],
});
