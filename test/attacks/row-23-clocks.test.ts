import { afterEach, expect, vi } from 'vitest';
import { judgeStart } from '../../src/core/execution/judgement.ts';
import { SHARDS } from '../queue/running-parts.ts';
import {
  ANA,
  approvalOf,
  attestationOf,
  BEN,
  CAT,
  policyOf,
  REQUESTER,
  sealedCall,
  startCase,
  T0,
  writeDatabase,
} from '../queue/sealed-call.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { type AttackCase, attackRow } from './attack-row.ts';
import { attackedParts } from './attacked-parts.ts';

const parts = attackedParts(redisForTests({ emptied: 'once' }));
const HOUR = 3_600_000;
const LIMITS = { pendingPerAgent: 1_000, pendingPerTenant: 1_000 };

afterEach(() => {
  vi.useRealTimers();
});

/** This process's clock is stepped; Redis, which is another process, keeps the time. */
const step = (ms: number) => vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + ms });

const steps: [string, number][] = [
  ['an hour behind', -HOUR],
  ['an hour ahead', HOUR],
  ['ten years behind', -10 * 365 * 24 * HOUR],
  ['ten years ahead', 10 * 365 * 24 * HOUR],
];

const CONTEXT = {
  tenant: 'acme',
  environment: 'production',
  agent: 'support-bot',
  principal: REQUESTER as string,
  run: 'run-1',
};

const scenes: [string, (stepped: () => void) => Promise<unknown>][] = [
  [
    'a guard gives people no longer than the policy does',
    async (stepped) => {
      stepped();
      const { id } = await parts.guard().propose({ tool: 'ticket.close', args: parts.ticket() }, CONTEXT);
      const terms = JSON.parse((await parts.store.read(id))?.termsText ?? '{}');
      const now = await parts.store.now();
      expect(terms.deadline - terms.createdAt).toBe(30 * 60_000);
      expect(terms.createdAt).toBeLessThanOrEqual(now);
      expect(terms.createdAt).toBeGreaterThan(now - 60_000);
    },
  ],
  [
    'terms that carry the time of the process are not taken',
    async (stepped) => {
      const { epoch } = await parts.writeSwitch.status();
      stepped();
      const sealed = sealedCall({ shards: SHARDS, now: Date.now(), switchEpoch: epoch });
      expect((await parts.store.create(sealed, LIMITS)).created).toBe('stale_terms');
    },
  ],
  [
    '[decision:late-click-loses] an approval after the deadline does not count',
    async (stepped) => {
      const sealed = await parts.propose({ args: parts.ticket() });
      await parts.tamper(sealed.terms.id, { deadline: String(await parts.store.now()) });
      stepped();
      const late = approvalOf(sealed, ANA, { at: await parts.store.now() });
      expect(await parts.store.decide(late)).toMatchObject({ ok: false, refusal: 'too_late' });
      expect(await parts.attempt(sealed.terms.id)).toMatchObject({ status: 'expired' });
      expect(parts.ran).toEqual([]);
    },
  ],
  [
    'an executor does not start what was to start before',
    async (stepped) => {
      const sealed = await parts.approvedCall({ args: parts.ticket() });
      await parts.tamper(sealed.terms.id, { startBefore: String(await parts.store.now()) });
      stepped();
      expect(await parts.attempt(sealed.terms.id)).toMatchObject({ status: 'expired' });
      expect(parts.ran).toEqual([]);
    },
  ],
  [
    'an executor does not believe a word that is a minute old',
    async (stepped) => {
      const sealed = await parts.approvedCall({ args: parts.ticket() });
      const at = (await parts.store.now()) - 60_000;
      await parts.tamper(sealed.terms.id, {
        attestation: JSON.stringify(attestationOf(sealed, [ANA], { at })),
      });
      stepped();
      expect(await parts.attempt(sealed.terms.id)).toMatchObject({ next: 'again', status: 'approved' });
      expect(parts.ran).toEqual([]);
    },
  ],
  [
    '[execution:at-most-once] an executor takes no other one for dead',
    async (stepped) => {
      const { terms, termsDigest } = await parts.approvedCall({ args: parts.ticket() });
      const ask = { id: terms.id, termsDigest, executor: 'other', leaseMs: 60_000 };
      expect(await parts.store.admit({ ...ask, admission: 'b'.repeat(32) })).toMatchObject({ ok: true });
      stepped();
      expect(await parts.attempt(terms.id)).toMatchObject({ next: 'again', status: 'executing' });
      expect((await parts.store.due(1_000)).lapsed).not.toContain(terms.id);
      expect(parts.ran).toEqual([]);
    },
  ],
];

const stepping: AttackCase[] = scenes.flatMap(([title, scene]) =>
  steps.map(([where, ms]): AttackCase => [`${title}, its clock ${where}`, () => scene(() => step(ms))]),
);

/** To the millisecond, as the executor judges it. `now`: Redis's. */
const sealed = sealedCall();
const judged = (now: number, approvedAt: number, attestedAt = now) => {
  const start = startCase(sealed, [approvalOf(sealed, ANA, { at: approvedAt })]);
  const attestation = attestationOf(sealed, [ANA], { at: attestedAt });
  return judgeStart({ ...start, record: { ...start.record, attestation }, now });
};
const { deadline, createdAt } = sealed.terms;
const START = 5 * 60_000;
const edges: [string, () => ReturnType<typeof judgeStart>, string | undefined][] = [
  ['approved at the deadline', () => judged(deadline, deadline), 'approval_out_of_time'],
  ['approved a millisecond before the deadline', () => judged(deadline, deadline - 1), undefined],
  ['approved a millisecond before it was made', () => judged(T0, createdAt - 1), 'approval_out_of_time'],
  ['approved at the moment that it was made', () => judged(T0, createdAt), undefined],
  ['started when its time to start is over', () => judged(T0 + START, T0), 'too_late'],
  ['started a millisecond before its time is over', () => judged(T0 + START - 1, T0), undefined],
  ['a word that is as old as it may not be', () => judged(T0 + 60_000, T0, T0), 'attestation_stale'],
  ['a word that is a millisecond younger', () => judged(T0 + 60_000, T0, T0 + 1), undefined],
  ['a word of the next millisecond', () => judged(T0, T0, T0 + 1), 'attestation_stale'],
  [
    'an approval in the escalation’s name, a millisecond before it',
    () => escalated(-1),
    'approver_not_entitled',
  ],
  ['an approval in the escalation’s name, when it begins', () => escalated(0), undefined],
];
function escalated(by: number) {
  const at = createdAt + 10 * 60_000 + by;
  const start = startCase(sealed, [approvalOf(sealed, CAT, { at, as: 'usergroup:S0ONCALL' })]);
  const attestation = attestationOf(sealed, [CAT], { at });
  return judgeStart({ ...start, record: { ...start.record, attestation }, now: at });
}
const edge = ([title, judge, refusal]: (typeof edges)[number]): AttackCase => [
  `to the millisecond: ${title}`,
  () => {
    const expected = refusal === undefined ? { ok: true } : { ok: false, refusal };
    expect(judge()).toMatchObject(expected);
  },
];

attackRow(23, {
  attacks: [...stepping, ...edges.filter(([, , refusal]) => refusal !== undefined).map(edge)],
  twins: [
    ...steps.map(
      ([where, ms]): AttackCase => [
        `a call is proposed, approved and run by processes whose clock is ${where}`,
        async () => {
          step(ms);
          const { terms } = await parts.approvedCall({ args: parts.ticket() });
          expect(await parts.attempt(terms.id)).toMatchObject({ status: 'succeeded' });
        },
      ],
    ),
    [
      'two people approve from processes whose clocks are two hours apart',
      async () => {
        const two = await parts.propose({ tool: writeDatabase, args: { row: 1 }, policy: policyOf() });
        step(-HOUR);
        await parts.decide(two, ANA);
        vi.useRealTimers();
        step(HOUR);
        await parts.decide(two, BEN);
        expect(await parts.attempt(two.terms.id)).toMatchObject({ status: 'succeeded' });
      },
    ],
    ...edges.filter(([, , refusal]) => refusal === undefined).map(edge),
  ],
});
