import { expect } from 'vitest';
import type { SeenMessage } from '../../src/sandbox/slack/person-interface.ts';
import { REFUSAL_NOTICES } from '../../src/slack/notices.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { CHANNEL, surfaceForTests } from '../slack/surface-for-tests.ts';
import { type AttackCase, attackRow } from './attack-row.ts';

const t = surfaceForTests('socket', redisForTests());
const SOON = { timeout: 15_000 };

type Id = Parameters<typeof t.status>[0];

/** What only this person was told, oldest first. */
async function answers(user: string): Promise<string[]> {
  const messages = await t.person(user).messages(CHANNEL);
  return messages.flatMap(({ ephemeral, text }) => (ephemeral ? [text] : []));
}

const answered = (user: string, times: number) => expect.poll(() => answers(user), SOON).toHaveLength(times);

async function approvals(id: Id): Promise<string[]> {
  const record = await t.store.read(id);
  return record?.state.approvals.map(({ statement }) => statement.person) ?? [];
}

const audited = async (kind: 'decision.approve' | 'decision.deny') =>
  (await t.entries(kind)).map(({ detail }) => detail.person);

async function oneVote(id: Id, status: string): Promise<void> {
  expect(await approvals(id)).toEqual(['slack:T0ACME/U0ANA']);
  expect(await audited('decision.approve')).toEqual(['slack:T0ACME/U0ANA']);
  expect(await t.status(id)).toBe(status);
  // The same each time, and never that it did not count.
  for (const answer of await answers('U0ANA')) expect(answer).toContain('recorded');
}

const TWO = { rule: { quorum: 2 } };
const NO_REASONS = { reason: { approve: 'none', deny: 'none' } } as const;

/** The newest form that was handed in, as Slack delivered it, once more. */
function resendForm(): Promise<unknown> {
  const { team, payload } = t.slack.traffic.deliveries('view_submission').at(-1) ?? {};
  const form = payload as Record<string, unknown>;
  return t.slack.send({ type: 'interactive', team: team ?? '', payload: form, acceptsResponse: true });
}

async function denied(message: SeenMessage): Promise<void> {
  const ben = t.person('U0BEN');
  await ben.click(message, 'cs_deny');
  await ben.submit(await ben.waitForView(), { cs_reason: 'not a duplicate' });
}

const deliveries: AttackCase[] = [
  ...[1, 2].map(
    (quorum): AttackCase => [
      `[decision:one-winner] one click, delivered twice, of a quorum of ${quorum}`,
      async () => {
        const { sealed, message } = await t.card({ rule: { quorum } });
        t.slack.faults.deliverTwice();
        await t.person('U0ANA').click(message, 'cs_approve');
        await answered('U0ANA', 2);
        await oneVote(sealed.terms.id, quorum === 1 ? 'approved' : 'pending');
      },
    ],
  ),
  [
    '[decision:quorum-counts-distinct-people] one click, delivered five times at once',
    async () => {
      const { sealed, message } = await t.card(TWO);
      await t.person('U0ANA').click(message, 'cs_approve');
      await Promise.all(Array.from({ length: 4 }, () => t.resend(() => {})));
      await answered('U0ANA', 5);
      await oneVote(sealed.terms.id, 'pending');
    },
  ],
  [
    '[decision:quorum-counts-distinct-people] one click, delivered to three replicas',
    async () => {
      await Promise.all([t.replica(), t.replica()]);
      const { sealed, message } = await t.card(TWO);
      await t.person('U0ANA').click(message, 'cs_approve');
      await Promise.all(Array.from({ length: 4 }, () => t.resend(() => {})));
      await answered('U0ANA', 5);
      await oneVote(sealed.terms.id, 'pending');
    },
  ],
  [
    '[decision:one-winner] one click, delivered again after the call was settled by it',
    async () => {
      const { sealed, message } = await t.card();
      await t.person('U0ANA').click(message, 'cs_approve');
      await t.cardSaying(sealed.terms.id, 'Approved');
      await t.resend(() => {});
      await answered('U0ANA', 2);
      await oneVote(sealed.terms.id, 'approved');
    },
  ],
  [
    '[decision:denial-is-final] one click, delivered again after somebody else denied',
    async () => {
      const { sealed, message } = await t.card(TWO);
      await t.person('U0ANA').click(message, 'cs_approve');
      await answered('U0ANA', 1);
      await denied(message);
      await expect.poll(() => t.status(sealed.terms.id), SOON).toBe('denied');
      await t.resend(({ user, actions }) => {
        user.id = 'U0ANA';
        for (const action of actions) action.action_id = 'cs_approve';
      });
      await expect.poll(() => t.refusals(), SOON).toEqual(['already_settled']);
      expect(await t.status(sealed.terms.id)).toBe('denied');
      expect(await audited('decision.approve')).toHaveLength(1);
    },
  ],
  [
    '[decision:one-winner] one click, delivered late, when another one has settled it',
    async () => {
      const { sealed, message } = await t.card();
      t.slack.faults.deliverLate(400);
      const late = t.person('U0ANA').click(message, 'cs_approve');
      await expect.poll(() => t.slack.faults.active(), SOON).toEqual([]);
      await t.person('U0BEN').click(message, 'cs_approve');
      await late;
      await expect.poll(() => t.status(sealed.terms.id), SOON).toBe('approved');
      await Promise.all([answered('U0ANA', 1), answered('U0BEN', 1)]);
      expect(await approvals(sealed.terms.id)).toHaveLength(1);
      expect(await audited('decision.approve')).toHaveLength(1);
    },
  ],
  [
    '[decision:denial-is-final] the form of a denial, delivered four times',
    async () => {
      const { sealed, message } = await t.card();
      await denied(message);
      await Promise.all([resendForm(), resendForm(), resendForm()]);
      await t.cardSaying(sealed.terms.id, 'Denied');
      expect(await audited('decision.deny')).toEqual(['slack:T0ACME/U0BEN']);
      expect(await t.status(sealed.terms.id)).toBe('denied');
    },
  ],
  [
    '[decision:quorum-counts-distinct-people] the form of an approval with its reason, delivered four times',
    async () => {
      const { sealed, message } = await t.card({
        rule: { quorum: 2, reason: { approve: 'required', deny: 'none' } },
      });
      const ana = t.person('U0ANA');
      await ana.click(message, 'cs_approve');
      await ana.submit(await ana.waitForView(), { cs_reason: 'checked' });
      await Promise.all([resendForm(), resendForm(), resendForm()]);
      await expect.poll(() => approvals(sealed.terms.id), SOON).toHaveLength(1);
      await oneVote(sealed.terms.id, 'pending');
    },
  ],
];

const clicks: AttackCase[] = [
  ...[1, 2].map(
    (quorum): AttackCase => [
      `[decision:quorum-counts-distinct-people] a double click, of a quorum of ${quorum}`,
      async () => {
        const { sealed, message } = await t.card({ rule: { quorum } });
        const ana = t.person('U0ANA');
        await Promise.all([ana.click(message, 'cs_approve'), ana.click(message, 'cs_approve')]);
        await answered('U0ANA', 2);
        await oneVote(sealed.terms.id, quorum === 1 ? 'approved' : 'pending');
      },
    ],
  ),
  [
    '[decision:one-winner] approve and deny of one person at the same moment',
    async () => {
      const { sealed, message } = await t.card({ rule: NO_REASONS });
      const ana = t.person('U0ANA');
      await Promise.all([ana.click(message, 'cs_approve'), ana.click(message, 'cs_deny')]);
      await answered('U0ANA', 2);
      const status = await t.status(sealed.terms.id);
      const recorded = [...(await audited('decision.approve')), ...(await audited('decision.deny'))];
      expect(recorded).toEqual(['slack:T0ACME/U0ANA']);
      expect(await audited(status === 'approved' ? 'decision.approve' : 'decision.deny')).toHaveLength(1);
    },
  ],
  [
    '[decision:denial-is-final] a click to approve, of somebody whose denial stands',
    async () => {
      const { sealed, message } = await t.card({ rule: { quorum: 2, ...NO_REASONS } });
      const ana = t.person('U0ANA');
      await ana.click(message, 'cs_deny');
      await expect.poll(() => t.status(sealed.terms.id), SOON).toBe('denied');
      await t.resend(({ actions }) => {
        for (const action of actions) action.action_id = 'cs_approve';
      });
      await t.told('U0ANA', REFUSAL_NOTICES.already_settled);
      expect(await t.status(sealed.terms.id)).toBe('denied');
      expect(await audited('decision.approve')).toEqual([]);
    },
  ],
  [
    '[decision:quorum-counts-distinct-people] one person on both of two cards of one proposal',
    async () => {
      // That writes are on was told in both channels. Then Slack takes a post, and its answer is lost: two cards.
      await expect.poll(() => t.slack.traffic.calls('chat.postMessage'), SOON).toHaveLength(2);
      t.slack.faults.loseReply('chat.postMessage');
      const sealed = await t.propose(TWO);
      const cards = async () =>
        (await t.person('U0CHEN').messages(CHANNEL)).filter(
          ({ blocks, threadTs }) =>
            threadTs === undefined && JSON.stringify(blocks).includes(sealed.terms.id),
        );
      await expect.poll(cards, { timeout: 20_000 }).toHaveLength(2);
      for (const card of await cards()) await t.person('U0ANA').click(card, 'cs_approve');
      await answered('U0ANA', 2);
      expect(await t.status(sealed.terms.id)).toBe('pending');
      expect(await approvals(sealed.terms.id)).toHaveLength(1);
    },
  ],
];

attackRow(4, {
  attacks: [...deliveries, ...clicks],
  twins: [
    [
      'two people, each of whose clicks is delivered twice, are two votes',
      async () => {
        const { sealed, message } = await t.card(TWO);
        t.slack.faults.deliverTwice(2);
        await t.person('U0ANA').click(message, 'cs_approve');
        await answered('U0ANA', 2);
        await t.person('U0BEN').click(message, 'cs_approve');
        await expect.poll(() => t.status(sealed.terms.id), SOON).toBe('approved');
        expect((await audited('decision.approve')).sort()).toEqual([
          'slack:T0ACME/U0ANA',
          'slack:T0ACME/U0BEN',
        ]);
      },
    ],
    [
      'who approved may still deny while it is pending',
      async () => {
        const { sealed, message } = await t.card({ rule: { quorum: 2, ...NO_REASONS } });
        await t.person('U0ANA').click(message, 'cs_approve');
        await answered('U0ANA', 1);
        await t.person('U0ANA').click(message, 'cs_deny');
        await expect.poll(() => t.status(sealed.terms.id), SOON).toBe('denied');
      },
    ],
    [
      'one click, delivered late while nobody else decided, counts',
      async () => {
        const { sealed, message } = await t.card();
        t.slack.faults.deliverLate(200);
        await t.person('U0ANA').click(message, 'cs_approve');
        await expect.poll(() => t.status(sealed.terms.id), SOON).toBe('approved');
      },
    ],
  ],
});
