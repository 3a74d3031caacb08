import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { Sweeper } from '../../src/queue/sweeper.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { testKeys } from '../sealed-terms.ts';
import { seenIn } from './card-views.ts';
import { CHANNEL, surfaceForTests } from './surface-for-tests.ts';

const redis = redisForTests();
const t = surfaceForTests('socket', redis);

/** As each replica has one: over a connection of its own, and with nothing that it remembers. */
function sweeper(): Sweeper {
  return new Sweeper({
    store: new ProposalStoreRedis({ redis: redis.connect(), shards: 1, keys: [testKeys.proposal] }),
    dispatch: { wake: async () => {} },
    logger: pino({ level: 'silent' }),
  });
}

async function fired(sweepers: Sweeper[]): Promise<number> {
  const swept = await Promise.all(sweepers.map((one) => one.sweep()));
  return swept.reduce((sum, { timers }) => sum + timers, 0);
}

async function thread(ts: string): Promise<string[]> {
  const messages = await t.person('U0CHEN').messages(CHANNEL);
  return messages.flatMap(({ threadTs, text }) => (threadTs === ts ? text.split('\n') : []));
}

async function due({ terms }: SealedTerms, afterMs: number): Promise<void> {
  await expect.poll(() => t.store.now()).toBeGreaterThan(terms.createdAt + afterMs);
}

describe('timers', () => {
  it('[audit:every-transition] reminds once, whatever is restarted and however many sweep', async () => {
    const { sealed, message } = await t.card({
      rule: { quorum: 2, approvers: ['usergroup:S0SUPPORT', 'user:U0LEAD'], remindAfterMs: 3_000 },
    });
    await t.person('U0LEAD').click(message, 'cs_approve');
    await t.told('U0LEAD', 'one more person has to approve');
    const early = await fired([sweeper()]);
    if ((await t.store.now()) < sealed.terms.createdAt + 3_000) expect(early).toBe(0);
    await due(sealed, 3_000);
    // Nobody swept when it was due; whoever comes next does, and of several one.
    expect(early + (await fired([sweeper(), sweeper(), sweeper(), sweeper()]))).toBe(1);
    expect(await fired([sweeper()])).toBe(0);
    // A record whose index entry was put back is reminded of no second time.
    await redis.client.zadd('{s0}:timers', 1, sealed.terms.id);
    expect(await fired([sweeper()])).toBe(0);
    await expect
      .poll(() => t.entries('timer.reminded'))
      .toMatchObject([{ proposal: sealed.terms.id, detail: { approvals: 1, quorum: 2 } }]);

    const seen = async () => (await thread(message.ts)).filter((line) => line.startsWith('Reminder'));
    await expect.poll(seen).toHaveLength(1);
    const [line] = await seen();
    // Who has approved is no longer asked.
    expect(line).toContain('Still 1 more person has to approve: <!subteam^S0SUPPORT>.');
    expect(line).not.toContain('U0LEAD');
    const card = await t.cardSaying(sealed.terms.id, 'Approval needed');
    expect(seenIn(card.blocks)).toContain('Reminded');
    expect(seenIn(card.blocks)).toContain('1 of 2 approved so far');
  });

  it('before they are due let nobody else decide', async () => {
    const { sealed, message } = await t.card({
      rule: {
        approvers: ['usergroup:S0SUPPORT'],
        escalate: { afterMs: 100_000, to: ['usergroup:S0ONCALL'] },
      },
    });
    await t.person('U0CHEN').click(message, 'cs_approve');
    await t.told('U0CHEN', 'does not name you as an approver');
    expect(await fired([sweeper(), sweeper()])).toBe(0);
    expect(await t.status(sealed.terms.id)).toBe('pending');
  });

  it('escalate: others may decide from then on, and the card and the thread say so', async () => {
    const afterMs = 3_000;
    const { sealed, message } = await t.card({
      rule: { approvers: ['usergroup:S0SUPPORT'], escalate: { afterMs, to: ['usergroup:S0ONCALL'] } },
    });
    const { id } = sealed.terms;
    await due(sealed, afterMs);
    expect(await fired([sweeper(), sweeper()])).toBe(1);
    await expect.poll(() => t.entries('timer.escalated')).toHaveLength(1);
    expect(await t.status(id)).toBe('pending');
    await expect
      .poll(() => thread(message.ts))
      .toContainEqual(expect.stringContaining('<!subteam^S0ONCALL> may decide as well'));
    await expect
      .poll(async () => seenIn((await t.cardSaying(id, 'Approval needed')).blocks))
      .toContain('and since');
    // The button on the card that was drawn before is still the card's.
    await t.person('U0CHEN').click(message, 'cs_approve');
    await t.cardSaying(id, 'Approved');
    const [approval] = (await t.store.read(id))?.state.approvals ?? [];
    expect(approval?.statement).toMatchObject({ person: 'slack:T0ACME/U0CHEN', as: 'usergroup:S0ONCALL' });
  });

  it('re-route: who was asked first may not decide any more, and what they decided before still counts', async () => {
    const afterMs = 8_000;
    const { sealed, message } = await t.card({
      rule: {
        quorum: 2,
        approvers: ['usergroup:S0SUPPORT'],
        escalate: { afterMs, to: ['usergroup:S0ONCALL'], reroute: true },
      },
    });
    const { id } = sealed.terms;
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.told('U0ANA', 'one more person has to approve');
    await due(sealed, afterMs);
    await t.person('U0BEN').click(message, 'cs_approve');
    await t.told('U0BEN', 'does not name you as an approver');
    await t.person('U0CHEN').click(message, 'cs_approve');
    await t.cardSaying(id, 'Approved');
    await expect.poll(async () => (await t.store.read(id))?.state.approvals).toHaveLength(2);
  });

  it('nothing is left due once it is settled, and what expires is not escalated first', async () => {
    const { sealed } = await t.card({
      rule: { remindAfterMs: 100_000, escalate: { afterMs: 200_000, to: ['usergroup:S0ONCALL'] } },
    });
    expect(await redis.client.zscore('{s0}:timers', sealed.terms.id)).toBe(
      String(sealed.terms.createdAt + 100_000),
    );
    await t.store.withdraw(sealed.terms.id, sealed.terms.context);
    expect(await redis.client.zcard('{s0}:timers')).toBe(0);

    const short = await t.propose({ rule: { expiresInMs: 300, remindAfterMs: 200 } });
    await due(short, 300);
    expect(await sweeper().sweep()).toMatchObject({ expired: 1, timers: 0 });
    await expect.poll(() => t.status(short.terms.id)).toBe('expired');
    expect(await t.entries('timer.reminded')).toEqual([]);
  });

  it('[approval:bound-to-everything] a time that was changed in the store alone makes the record none of ours', async () => {
    const { sealed } = await t.card({ rule: { escalate: { afterMs: 100_000, to: ['usergroup:S0ONCALL'] } } });
    await redis.client.hset(`{s0}:proposal:${sealed.terms.id}`, 'escalateAt', '1');
    await expect(t.store.read(sealed.terms.id)).rejects.toMatchObject({ code: 'record_malformed' });
  });
});
