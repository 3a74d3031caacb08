import { describe, expect, it } from 'vitest';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { proposalKey } from '../../src/redis/keys.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { surfaceForTests } from './surface-for-tests.ts';

/** Somebody who can write Redis opens again what has ended, and deletes the mark that says so. */

const redis = redisForTests({ emptied: 'once' });
const t = surfaceForTests('socket', redis, { shared: true });

const RULE = { rule: { reason: { deny: 'none', approve: 'none' } } } as const;

async function copyOf(id: ProposalId): Promise<() => Promise<void>> {
  const copy = await redis.client.dumpBuffer(proposalKey(id));
  return async () => {
    await redis.client.restore(proposalKey(id), '0', copy, 'REPLACE');
    await redis.client.del('{s0}:spent');
  };
}

const approveAs = (user: string) =>
  t.resend((payload) => {
    payload.user.id = user;
    for (const action of payload.actions) action.action_id = 'cs_approve';
  });

async function haltedWithAlarm(id: ProposalId): Promise<void> {
  await expect.poll(() => t.status(id)).toBe('halted');
  const alarms = async () => (await t.entries('alarm.raised')).filter(({ proposal }) => proposal === id);
  await expect.poll(async () => (await alarms()).map(({ detail }) => detail.refusal)).toEqual(['put_back']);
}

describe('a proposal that has ended and is open again', () => {
  it('[decision:denial-is-final] is approved by nobody where it was denied here', async () => {
    const { sealed, message } = await t.card(RULE);
    const { id } = sealed.terms;
    const putBack = await copyOf(id);
    await t.person('U0BEN').click(message, 'cs_deny');
    await expect.poll(() => t.status(id)).toBe('denied');
    await putBack();
    expect(await t.status(id)).toBe('pending');
    await approveAs('U0ANA');
    await haltedWithAlarm(id);
    const approvals = (await t.entries('decision.approve')).filter(({ proposal }) => proposal === id);
    expect(approvals).toEqual([]);
  });

  it('is approved by nobody where its end was drawn here', async () => {
    const { sealed, message } = await t.card(RULE);
    const { id, context } = sealed.terms;
    const putBack = await copyOf(id);
    await t.store.withdraw(id, { agent: context.agent, principal: context.principal });
    await t.cardSaying(id, 'Withdrawn');
    await putBack();
    // A client that still shows the old card.
    await t.resend((payload) => {
      payload.user.id = 'U0ANA';
      payload.container.message_ts = message.ts;
      Object.assign(payload, { message: { ts: message.ts, blocks: message.blocks } });
      for (const action of payload.actions) Object.assign(action, { action_id: 'cs_approve', value: id });
    });
    await haltedWithAlarm(id);
  });

  it('[execution:the-executor-judges-again] is given no new word that its approvers still may', async () => {
    const { sealed, message } = await t.card(RULE);
    const { id } = sealed.terms;
    await t.person('U0ANA').click(message, 'cs_approve');
    await expect.poll(async () => (await t.store.read(id))?.attestation).toBeDefined();
    await redis.client.hdel(proposalKey(id), 'attestation');
    const putBack = await copyOf(id);
    await t.store.refuse(id, { refusal: 'x', message: 'x', alarm: false });
    await t.cardSaying(id, 'Halted');
    await putBack();
    await redis.client.zadd('{s0}:attesting', 0, id);
    await haltedWithAlarm(id);
    expect(await redis.client.hget(proposalKey(id), 'attestation')).toBeNull();
  });
});
