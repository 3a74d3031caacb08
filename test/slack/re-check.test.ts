import { beforeEach, describe, expect, it } from 'vitest';
import { attestationIsGenuine } from '../../src/core/approval/attestation.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { testKeys } from '../sealed-terms.ts';
import { seenIn } from './card-views.ts';
import { CHANNEL, surfaceForTests } from './surface-for-tests.ts';

const redis = redisForTests();
/** Milliseconds that have gone by; the wall clock was set back by as many, and shows none of them. */
let ahead = 0;
beforeEach(() => {
  ahead = 0;
});
const t = surfaceForTests('socket', redis, {
  adjust: (parts) => ({ ...parts, monotonic: () => performance.now() + ahead }),
});

const GROUP_ONLY = { approvers: ['usergroup:S0SUPPORT'] };

function leaveGroup(user: string): void {
  const acme = t.slack.world.workspaces.find(({ team }) => team === 'T0ACME');
  for (const group of acme?.groups ?? []) group.users = group.users.filter((id) => id !== user);
}

function userOf(user: string) {
  const found = t.slack.world.workspaces.flatMap(({ users }) => users).find(({ id }) => id === user);
  if (found === undefined) throw new Error(`no ${user}`);
  return found;
}

/** The card in the channel as it stands, and all replies under it. */
async function thread(ts: string): Promise<string> {
  const messages = await t.person('U0CHEN').messages(CHANNEL);
  return messages.flatMap(({ threadTs, text }) => (threadTs === ts ? [text] : [])).join('\n');
}

describe('who approved and may no longer', () => {
  it.each([
    ['left the group', () => leaveGroup('U0ANA')],
    [
      'was deactivated',
      () => {
        userOf('U0ANA').deleted = true;
      },
    ],
    [
      'was made a guest',
      () => {
        userOf('U0ANA').isRestricted = true;
      },
    ],
  ])(
    '[decision:quorum-counts-distinct-people] loses the vote at the settling click, where he %s',
    async (_, change) => {
      const { sealed, message } = await t.card({ rule: { quorum: 2, ...GROUP_ONLY } });
      const { id } = sealed.terms;
      await t.person('U0ANA').click(message, 'cs_approve');
      await t.told('U0ANA', 'one more person has to approve');
      change();
      // The list that Ana's own click rested on is too old for this after four seconds.
      ahead += 4_100;
      await t.person('U0BEN').click(message, 'cs_approve');
      await t.told('U0BEN', 'one more person has to approve');

      expect(await t.status(id)).toBe('pending');
      const record = await t.store.read(id);
      expect(record?.state.approvals.map(({ statement }) => statement.person)).toEqual([
        'slack:T0ACME/U0BEN',
      ]);
      const entry = await t.entry('decision.revoked');
      expect(entry.detail).toMatchObject({ person: 'slack:T0ACME/U0ANA' });
      const card = await t.person('U0CHEN').waitForMessage(CHANNEL, ({ blocks }) => {
        const seen = seenIn(blocks);
        return seen.includes('The approval of <@U0ANA> no longer counts') && seen.includes('1 of 2 approved');
      });
      expect(seenIn(card.blocks)).toContain('Approve');
      await expect.poll(() => thread(message.ts)).toContain('The approval of <@U0ANA> no longer counts');
      // And the one who is left needs a second person again.
      await t.person('U0RITA').click(message, 'cs_approve');
      await t.cardSaying(id, 'Approved');
    },
  );

  it('decides nothing while Slack does not say whether an earlier approver still may', async () => {
    const { sealed, message } = await t.card({ rule: { quorum: 2, ...GROUP_ONLY } });
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.told('U0ANA', 'one more person has to approve');
    ahead += 4_100;
    t.slack.faults.unavailable(5, 'usergroups.users.list');
    await t.person('U0BEN').click(message, 'cs_approve');
    await t.told('U0BEN', 'Slack did not tell who may decide');
    const record = await t.store.read(sealed.terms.id);
    expect(record?.state).toMatchObject({ status: 'pending' });
    expect(record?.state.approvals).toHaveLength(1);
  });

  it('[approval:bound-to-everything] is attested for when it settles, by name and under our signature', async () => {
    const { sealed, message } = await t.card({ rule: { quorum: 2 } });
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.person('U0BEN').click(message, 'cs_approve');
    await t.cardSaying(sealed.terms.id, 'Approved');
    const attested = async () => (await t.store.read(sealed.terms.id))?.attestation;
    await expect.poll(attested).toBeDefined();
    const word = await attested();
    if (word === undefined) throw new Error('no attestation');
    expect(attestationIsGenuine(testKeys.approvalPublic, word)).toBe(true);
    expect(word.statement).toMatchObject({
      proposal: sealed.terms.id,
      termsDigest: sealed.termsDigest,
      approvers: ['slack:T0ACME/U0ANA', 'slack:T0ACME/U0BEN'],
    });
  });

  it('stops an approved call that has not started: the rounds find it, on the card and for the agent', async () => {
    const { sealed, message } = await t.card({ rule: GROUP_ONLY });
    const { id } = sealed.terms;
    await t.person('U0BEN').click(message, 'cs_approve');
    await t.cardSaying(id, 'Approved');
    leaveGroup('U0BEN');
    ahead += 4_100;
    // Due now, not in twenty seconds.
    await redis.client.zadd('{s0}:attesting', 1, id);
    const card = await t.cardSaying(id, 'Halted');
    expect(seenIn(card.blocks)).toContain('<@U0BEN>, who approved it, may no longer approve this');
    await expect
      .poll(async () => (await t.store.read(id))?.state)
      .toMatchObject({
        status: 'halted',
        cause: { refusal: 'approver_not_entitled', person: 'slack:T0ACME/U0BEN' },
      });
    await expect.poll(() => thread(message.ts)).toContain('may no longer approve this');
  });

  it('neither renews nor stops while Slack does not answer', async () => {
    const { sealed, message } = await t.card({ rule: GROUP_ONLY });
    const { id } = sealed.terms;
    await t.person('U0BEN').click(message, 'cs_approve');
    await t.cardSaying(id, 'Approved');
    await expect.poll(async () => (await t.store.read(id))?.attestation).toBeDefined();
    const before = (await t.store.read(id))?.attestation;
    t.slack.faults.unavailable(50, 'users.info');
    await redis.client.zadd('{s0}:attesting', 1, id);
    await expect.poll(async () => Number(await redis.client.zscore('{s0}:attesting', id))).toBeGreaterThan(1);
    await new Promise((resolve) => setTimeout(resolve, 500));
    const record = await t.store.read(id);
    expect(record?.state.status).toBe('approved');
    expect(record?.attestation).toEqual(before);
  });

  it('renews an attestation that a crash left out, once over all replicas', async () => {
    await t.replica();
    const { sealed, message } = await t.card({ rule: GROUP_ONLY });
    const { id } = sealed.terms;
    await t.person('U0BEN').click(message, 'cs_approve');
    await t.cardSaying(id, 'Approved');
    await expect.poll(async () => (await t.store.read(id))?.attestation).toBeDefined();
    await redis.client.hdel(`{s0}:proposal:${id}`, 'attestation');
    await redis.client.zadd('{s0}:attesting', 1, id);
    await expect.poll(async () => (await t.store.read(id))?.attestation).toBeDefined();
    const claims = await Promise.all([t.store.claimAttestations(10), t.store.claimAttestations(10)]);
    expect(claims.flat()).toEqual([]);
  });
});

describe('second accounts', () => {
  it('of whoever asked may not decide, whatever the case of the address', async () => {
    userOf('U0RITA').email = 'Ana@Acme.example';
    const { sealed, message } = await t.card({ context: { principal: 'slack:T0ACME/U0ANA' } });
    await t.person('U0RITA').click(message, 'cs_approve');
    await t.told('U0RITA', 'same email address');
    expect(await t.status(sealed.terms.id)).toBe('pending');
    await expect.poll(() => t.refusals()).toEqual(['own_call_other_account']);
    // A tag or a dot makes another address, and may be another person.
    userOf('U0RITA').email = 'ana+two@acme.example';
    await t.person('U0BEN').click(message, 'cs_approve');
    await t.cardSaying(sealed.terms.id, 'Approved');
  });

  it('[decision:quorum-counts-distinct-people] of an approver do not make a second person', async () => {
    userOf('U0BEN').email = 'ANA@acme.example';
    const { sealed, message } = await t.card({ rule: { quorum: 2 } });
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.told('U0ANA', 'one more person has to approve');
    await t.person('U0BEN').click(message, 'cs_approve');
    await t.told('U0BEN', 'have decided on this proposal already');
    expect(await t.status(sealed.terms.id)).toBe('pending');
  });
});
