import { generateKeyPairSync } from 'node:crypto';
import { expect } from 'vitest';
import type { ApprovalPrivateKey, DecisionStatement } from '../../src/core/approval/decision.ts';
import { PersonId } from '../../src/core/identity/ids.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { ExcludedVote } from '../../src/redis/proposal-store-redis.ts';
import {
  ANA,
  approvalOf,
  attestationOf,
  BEN,
  CAT,
  MALLORY,
  POLICY_TEXT,
  policyOf,
  REQUESTER,
  writeDatabase,
} from '../queue/sealed-call.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { type AttackCase, attackRow } from './attack-row.ts';
import { attackedParts } from './attacked-parts.ts';

const parts = attackedParts(redisForTests({ emptied: 'once' }));

const GRID_ANA = PersonId.parse('slack:E0GRID/U0ANA');
const mallory = generateKeyPairSync('ed25519').privateKey as ApprovalPrivateKey;
let rows = 0;

/** Two people decide about it, each with a reason. */
const proposed = (): Promise<SealedTerms> => {
  rows += 1;
  return parts.propose({ tool: writeDatabase, args: { row: rows } });
};

async function vote(
  sealed: SealedTerms,
  person: PersonId,
  statement: Partial<DecisionStatement> = {},
  rechecked?: PersonId[],
) {
  const at = await parts.store.now();
  const signed = approvalOf(sealed, person, { at, reason: 'checked', ...statement });
  return parts.store.decide(signed, rechecked);
}

const statusOf = ({ terms }: SealedTerms) => parts.statusOf(terms.id);
const votersOf = async ({ terms }: SealedTerms) =>
  (await parts.store.read(terms.id))?.state.approvals.map(({ statement }) => statement.person);

async function neverRuns({ terms }: SealedTerms): Promise<void> {
  await parts.attempt(terms.id);
  expect(parts.ran).toEqual([]);
}

const races: AttackCase[] = [
  [
    '[decision:quorum-counts-distinct-people] one person, ten times at once',
    async () => {
      const sealed = await proposed();
      const votes = await Promise.all(Array.from({ length: 10 }, () => vote(sealed, ANA)));
      expect(votes.every(({ ok }) => ok)).toBe(true);
      expect(await votersOf(sealed)).toEqual([ANA]);
      expect(await statusOf(sealed)).toBe('pending');
      await neverRuns(sealed);
    },
  ],
  [
    '[decision:quorum-counts-distinct-people] one person, with ten reasons',
    async () => {
      const sealed = await proposed();
      for (let i = 0; i < 10; i += 1) await vote(sealed, ANA, { reason: `reason ${i}` });
      expect(await votersOf(sealed)).toEqual([ANA]);
      expect(await parts.entries(sealed.terms.id, 'decision.approve')).toHaveLength(1);
      await neverRuns(sealed);
    },
  ],
  [
    '[decision:one-winner] five people at once, where two are asked: it settles once, with two',
    async () => {
      const sealed = await proposed();
      const more = ['U0DAN', 'U0EVE'].map((user) => PersonId.parse(`slack:T0ACME/${user}`));
      const votes = await Promise.all([ANA, BEN, CAT, ...more].map((person) => vote(sealed, person)));
      expect(votes.filter((one) => one.ok && one.settled)).toHaveLength(1);
      expect(votes.filter((one) => !one.ok && one.refusal === 'already_settled')).toHaveLength(3);
      expect(await votersOf(sealed)).toHaveLength(2);
      expect(await parts.entries(sealed.terms.id, 'proposal.approved')).toHaveLength(1);
    },
  ],
  [
    '[decision:denial-is-final] a denial and the settling approval at once, twenty times',
    async () => {
      for (let i = 0; i < 20; i += 1) {
        const sealed = await proposed();
        await vote(sealed, ANA);
        const [no, yes] = await Promise.all([vote(sealed, CAT, { decision: 'deny' }), vote(sealed, BEN)]);
        expect([no.ok, yes.ok].filter(Boolean)).toHaveLength(1);
        expect(await statusOf(sealed)).toBe(no.ok ? 'denied' : 'approved');
      }
      expect(parts.ran).toEqual([]);
    },
  ],
  [
    '[decision:quorum-counts-distinct-people] who approved before was not looked at again when another one settles it',
    async () => {
      const sealed = await proposed();
      await vote(sealed, ANA, {}, []);
      expect(await vote(sealed, BEN, {}, [])).toMatchObject({ ok: false, refusal: 'recheck' });
      expect(await statusOf(sealed)).toBe('pending');
    },
  ],
  [
    '[decision:quorum-counts-distinct-people] somebody whom the terms exclude',
    async () => {
      const sealed = await parts.propose({
        args: parts.ticket(),
        policy: policyOf(`${POLICY_TEXT}services:\n  service:nightly: { owners: ["user:U0ANA"] }\n`),
        context: { principal: 'service:nightly' },
      });
      await expect(vote(sealed, ANA)).rejects.toBeInstanceOf(ExcludedVote);
      expect(await statusOf(sealed)).toBe('pending');
    },
  ],
];

const denials: AttackCase[] = [
  [
    '[decision:denial-is-final] an approval after a denial between two approvals',
    async () => {
      const sealed = await proposed();
      await vote(sealed, ANA);
      await vote(sealed, BEN, { decision: 'deny' });
      expect(await vote(sealed, CAT)).toMatchObject({ ok: false, refusal: 'already_settled' });
      expect(await statusOf(sealed)).toBe('denied');
      await neverRuns(sealed);
    },
  ],
  [
    '[decision:denial-is-final] who denied approves after all',
    async () => {
      const sealed = await proposed();
      await vote(sealed, ANA);
      await vote(sealed, BEN, { decision: 'deny' });
      expect(await vote(sealed, BEN)).toMatchObject({ ok: false });
      expect(await statusOf(sealed)).toBe('denied');
      await neverRuns(sealed);
    },
  ],
  [
    '[decision:denial-is-final] who approved denies, and another one approves',
    async () => {
      const sealed = await proposed();
      await vote(sealed, ANA);
      await vote(sealed, ANA, { decision: 'deny' });
      expect(await vote(sealed, BEN)).toMatchObject({ ok: false, refusal: 'already_settled' });
      expect(await votersOf(sealed)).toEqual([]);
      await neverRuns(sealed);
    },
  ],
  [
    '[decision:denial-is-final] the denial is taken out of the record, and the second approval comes',
    async () => {
      const sealed = await proposed();
      await vote(sealed, ANA);
      await vote(sealed, BEN, { decision: 'deny' });
      await parts.tamper(sealed.terms.id, { status: 'pending' });
      expect(await vote(sealed, CAT)).toMatchObject({ ok: false, refusal: 'already_settled' });
      expect(await statusOf(sealed)).toBe('halted');
      expect(await parts.alarms(sealed.terms.id)).toEqual(['put_back']);
      await neverRuns(sealed);
    },
  ],
];

const late: AttackCase[] = [
  [
    '[decision:late-click-loses] the second approval at the deadline',
    async () => {
      const sealed = await proposed();
      await vote(sealed, ANA);
      await parts.tamper(sealed.terms.id, { deadline: String(await parts.store.now()) });
      expect(await vote(sealed, BEN)).toMatchObject({ ok: false, refusal: 'too_late' });
      await neverRuns(sealed);
    },
  ],
  [
    '[decision:late-click-loses] the second approval after the deadline, which somebody moved in the record',
    async () => {
      const sealed = await proposed();
      await vote(sealed, ANA);
      const { deadline } = sealed.terms;
      await parts.tamper(sealed.terms.id, { deadline: String(deadline + 3_600_000) });
      await vote(sealed, BEN, { at: deadline });
      await parts.attest(sealed, [ANA, BEN]);
      await parts.refusedWithAlarm(sealed.terms.id, 'approval_out_of_time');
    },
  ],
  [
    '[switch:off-then-on-resurrects-nothing] the second approval after off and on',
    async () => {
      const sealed = await proposed();
      await vote(sealed, ANA);
      await parts.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test', why: 'incident' });
      await parts.armWrites();
      expect(await vote(sealed, BEN)).toMatchObject({ ok: false });
      expect(await statusOf(sealed)).toBe('halted');
      await neverRuns(sealed);
    },
  ],
  [
    '[decision:quorum-counts-distinct-people] the second approval after the first one was taken back',
    async () => {
      const sealed = await proposed();
      await vote(sealed, ANA);
      await parts.store.revoke(sealed.terms.id, { person: ANA, why: 'deactivated' });
      expect(await vote(sealed, BEN)).toMatchObject({ ok: true, settled: false });
      expect(await votersOf(sealed)).toEqual([BEN]);
      await neverRuns(sealed);
    },
  ],
];

/** Two names in the record; what the executor makes of them. `again`: it waits, and starts nothing. */
type Pair = [
  string,
  string | 'again',
  (sealed: SealedTerms, at: number) => ReturnType<typeof approvalOf>[],
  PersonId[]?,
];
const reason = 'checked';
const pairs: Pair[] = [
  [
    'one person twice',
    'approval_forged',
    (sealed, at) => [approvalOf(sealed, ANA, { at, reason }), approvalOf(sealed, ANA, { at, reason })],
  ],
  [
    'one person, and the same under the organisation’s id',
    'approver_not_entitled',
    (sealed, at) => [approvalOf(sealed, ANA, { at, reason }), approvalOf(sealed, GRID_ANA, { at, reason })],
  ],
  [
    'one person, and the same user id of another workspace',
    'approver_not_entitled',
    (sealed, at) => [approvalOf(sealed, ANA, { at, reason }), approvalOf(sealed, MALLORY, { at, reason })],
  ],
  [
    'one person, and one in that person’s place',
    'approver_not_entitled',
    (sealed, at) => [
      approvalOf(sealed, ANA, { at, reason }),
      approvalOf(sealed, CAT, { at, reason, as: 'user:U0ANA' }),
    ],
  ],
  [
    'one person, and who asked for it',
    'approver_not_entitled',
    (sealed, at) => [
      approvalOf(sealed, ANA, { at, reason }),
      approvalOf(sealed, REQUESTER, { at, reason, as: 'usergroup:S0SUPPORT' }),
    ],
  ],
  [
    'one person, and one who gave no reason',
    'reason_missing',
    (sealed, at) => [approvalOf(sealed, ANA, { at, reason }), approvalOf(sealed, BEN, { at })],
  ],
  [
    'one person, and one that nobody signed for',
    'approval_forged',
    (sealed, at) => [
      approvalOf(sealed, ANA, { at, reason }),
      approvalOf(sealed, BEN, { at, reason }, mallory),
    ],
  ],
  ['one person alone', 'quorum_missing', (sealed, at) => [approvalOf(sealed, ANA, { at, reason })]],
  ['nobody', 'quorum_missing', () => []],
  [
    'two people, of whom one was taken back since',
    'again',
    (sealed, at) => [approvalOf(sealed, ANA, { at, reason }), approvalOf(sealed, BEN, { at, reason })],
    [BEN],
  ],
];
const forged: AttackCase[] = pairs.map(([title, refusal, votes, attested]) => [
  `[decision:quorum-counts-distinct-people] a record that says two approved, and names ${title}`,
  async () => {
    const sealed = await proposed();
    const at = await parts.store.now();
    const given = votes(sealed, at);
    const people = attested ?? [...new Set([ANA, ...given.map(({ statement }) => statement.person)])];
    await parts.forgeApproved(sealed, given, attestationOf(sealed, people, { at }));
    if (refusal === 'again') {
      expect(await parts.attempt(sealed.terms.id)).toMatchObject({ next: 'again', status: 'approved' });
    } else {
      expect(await parts.attempt(sealed.terms.id)).toMatchObject({ next: 'done', status: 'halted' });
      const halted = await parts.entries(sealed.terms.id, 'proposal.halted');
      expect(halted.map((detail) => detail.refusal)).toEqual([refusal]);
    }
    expect(parts.ran).toEqual([]);
  },
]);

const counters: AttackCase[] = (
  ['2', '"2"', '{"0":"a","1":"b"}', '[2]', '["slack:T0ACME/U0ANA",null]'] as const
).map((voters) => [
  `[decision:quorum-counts-distinct-people] voters that are ${voters} in place of a list of people`,
  async () => {
    const sealed = await proposed();
    await vote(sealed, ANA);
    await parts.tamper(sealed.terms.id, { voters });
    await vote(sealed, BEN).catch(() => undefined);
    await parts.tamper(sealed.terms.id, { status: 'approved', approvedAt: '1', startBefore: '9'.repeat(14) });
    await neverRuns(sealed);
  },
]);

const tightened: AttackCase[] = [
  [
    '[execution:the-executor-judges-again] the policy asks three since two approved',
    async () => {
      const sealed = await proposed();
      await parts.decide(sealed, ANA);
      await parts.decide(sealed, BEN);
      const three = policyOf(POLICY_TEXT.replace('quorum: 2', 'quorum: 3'));
      await parts.refused(sealed.terms.id, 'quorum_missing', parts.under(three));
    },
  ],
];

attackRow(7, {
  attacks: [...races, ...denials, ...late, ...forged, ...counters, ...tightened],
  twins: [
    [
      'two people approve, one after the other, and it runs',
      async () => {
        const sealed = await proposed();
        await parts.decide(sealed, ANA);
        await parts.decide(sealed, BEN);
        expect(await parts.attempt(sealed.terms.id)).toMatchObject({ status: 'succeeded' });
      },
    ],
    [
      'two people approve at once, and it runs',
      async () => {
        const sealed = await proposed();
        const votes = await Promise.all([vote(sealed, ANA), vote(sealed, BEN)]);
        expect(votes.map(({ ok }) => ok)).toEqual([true, true]);
        await parts.attest(sealed, [ANA, BEN]);
        expect(await parts.attempt(sealed.terms.id)).toMatchObject({ status: 'succeeded' });
      },
    ],
    [
      'one person is taken back, and two others approve: it runs',
      async () => {
        const sealed = await proposed();
        await vote(sealed, CAT);
        await parts.store.revoke(sealed.terms.id, { person: CAT, why: 'left the group' });
        await parts.decide(sealed, ANA);
        await parts.decide(sealed, BEN);
        expect(await parts.attempt(sealed.terms.id)).toMatchObject({ status: 'succeeded' });
      },
    ],
  ],
});
