import { beforeEach, describe, expect, it } from 'vitest';
import { digestOf } from '../../src/core/tool/digest.ts';
import { findChannel, findWorkspace } from '../../src/sandbox/slack/slack-world.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { ANA, newTestKeys, signedDecision } from '../sealed-terms.ts';
import { seenIn } from './card-views.ts';
import { CHANNEL, surfaceForTests } from './surface-for-tests.ts';

const redis = redisForTests();

describe('the publisher', () => {
  const t = surfaceForTests('socket', redis);
  const posts = () => t.slack.traffic.calls('chat.postMessage');
  // That writes are on is told in both channels; faults are for what comes after.
  beforeEach(() => expect.poll(() => posts().length).toBe(2));
  const cardsOf = async (id: string) =>
    (await t.person('U0CHEN').messages(CHANNEL)).filter(
      ({ blocks, threadTs }) => threadTs === undefined && JSON.stringify(blocks).includes(id),
    );

  it('posts a card that cannot unfurl and that says the whole summary in words', async () => {
    const { message } = await t.card();
    const call = t.slack.traffic.calls('chat.postMessage').at(-1);
    expect(call?.body).toMatchObject({ channel: CHANNEL });
    expect(String(call?.body.unfurl_links)).toBe('false');
    expect(String(call?.body.unfurl_media)).toBe('false');
    expect(message.text).toContain('Approval needed. ticket.close for acme in PRODUCTION');
  });

  it('waits as long as Slack says after a 429, and then posts once', async () => {
    t.slack.faults.rateLimit(1_000, 'chat.postMessage');
    const sealed = await t.propose();
    await t.cardSaying(sealed.terms.id, 'Approval needed');
    await expect.poll(() => cardsOf(sealed.terms.id)).toHaveLength(1);
    expect(t.slack.traffic.calls('chat.postMessage').filter(({ status }) => status === 429)).toHaveLength(1);
  });

  it('tries again after an error of Slack, without the SDK trying as well', async () => {
    t.slack.faults.unavailable(1, 'chat.postMessage');
    const sealed = await t.propose();
    await t.cardSaying(sealed.terms.id, 'Approval needed');
    await expect.poll(() => cardsOf(sealed.terms.id)).toHaveLength(1);
    expect(posts()).toHaveLength(4);
    // It was the outbox that tried again: the SDK gave up at once.
    expect(t.logged.join('')).toContain('a card could not be drawn; it is tried again');
  });

  describe('where a reply is lost', () => {
    const twoCards = async () => {
      t.slack.faults.loseReply('chat.postMessage');
      const sealed = await t.propose();
      const copy = await t.cardSaying(sealed.terms.id, 'Approval needed');
      await expect.poll(() => cardsOf(sealed.terms.id)).toHaveLength(2);
      await expect.poll(async () => (await t.store.read(sealed.terms.id))?.card).toBeDefined();
      const live = (await cardsOf(sealed.terms.id)).find(({ ts }) => ts !== copy.ts);
      if (live === undefined) throw new Error('no live card');
      await expect.poll(async () => (await t.store.read(sealed.terms.id))?.card?.ts).toBe(live.ts);
      return { sealed, copy, live };
    };

    it('[decision:one-winner] a click on the copy counts, and the copy then points to the live card', async () => {
      const { sealed, copy, live } = await twoCards();
      await t.person('U0ANA').click(copy, 'cs_approve');
      await expect.poll(() => t.status(sealed.terms.id)).toBe('approved');
      await expect.poll(async () => (await cardsOf(sealed.terms.id)).map(({ ts }) => ts)).toEqual([live.ts]);
      const pointing = (await t.person('U0CHEN').messages(CHANNEL)).find(({ ts }) => ts === copy.ts);
      expect(seenIn(pointing?.blocks)).toMatch(/earlier copy.*live card/);
      expect(JSON.stringify(pointing?.blocks)).toContain(`p${live.ts.replace('.', '')}`);
      expect(JSON.stringify(pointing?.blocks)).not.toContain('cs_approve');
      await expect
        .poll(async () => (await cardsOf(sealed.terms.id)).map(({ blocks }) => seenIn(blocks)).join())
        .toContain('Approved by');
    });

    it('the same person on both cards is one vote, and a settled proposal is settled on both', async () => {
      const { sealed, copy, live } = await twoCards();
      await t.person('U0ANA').click(live, 'cs_approve');
      await expect.poll(() => t.status(sealed.terms.id)).toBe('approved');
      await t.person('U0ANA').click(copy, 'cs_approve');
      await t.told('U0ANA', 'recorded already');
      await expect.poll(() => t.entries('decision.approve')).toHaveLength(1);
    });

    it('[decision:identity-from-the-signed-body] a click on a copy that shows something else, or stands elsewhere, does not count', async () => {
      const { sealed, copy } = await twoCards();
      await t
        .person('U0CHEN')
        .click(copy, 'cs_approve')
        .catch(() => undefined);
      await t.resend((payload) => {
        const [action] = payload.actions;
        payload.user.id = 'U0ANA';
        if (action) action.value = `${sealed.terms.id} ${'0'.repeat(64)}`;
      });
      await t.resend((payload) => {
        payload.user.id = 'U0ANA';
        payload.channel.id = 'C0ELSEWHERE';
        payload.container.channel_id = 'C0ELSEWHERE';
      });
      await expect
        .poll(async () => (await t.refusals()).filter((word) => word === 'not_this_card'))
        .toHaveLength(2);
      expect(await t.status(sealed.terms.id)).toBe('pending');
    });
  });

  it('a lost update is made good, and nothing is posted twice', async () => {
    const { sealed, message } = await t.card({ rule: { reason: { approve: 'none', deny: 'none' } } });
    t.slack.faults.loseReply('chat.update');
    await t.person('U0BEN').click(message, 'cs_deny');
    await t.cardSaying(sealed.terms.id, 'Denied');
    await expect.poll(async () => (await t.store.read(sealed.terms.id))?.cardRevision).toBe(2);
    await expect.poll(() => cardsOf(sealed.terms.id)).toHaveLength(1);
  });

  it('draws after a restart what was decided while nobody could draw', async () => {
    const { sealed } = await t.card();
    await t.surface.stop();
    await t.store.decide(signedDecision(sealed, 'approve', ANA));
    await t.replica();
    const card = await t.cardSaying(sealed.terms.id, 'Approved');
    expect(seenIn(card.blocks)).toContain('Approved by <@U0ANA>');
  });

  it('two replicas post one card', async () => {
    await t.replica();
    const sealed = await Promise.all([t.propose(), t.propose({ arguments: { ticket: 'T-2' } })]);
    for (const { terms } of sealed) {
      await t.cardSaying(terms.id, 'Approval needed');
      await expect.poll(() => cardsOf(terms.id)).toHaveLength(1);
    }
  });

  it('shows each state that a proposal goes through, to the outcome', async () => {
    const { sealed, message } = await t.card();
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.cardSaying(sealed.terms.id, 'Approved, waiting to run');
    const admitted = await t.store.admit({
      id: sealed.terms.id,
      termsDigest: sealed.termsDigest,
      admission: '0'.repeat(32),
      executor: 'executor-1',
      leaseMs: 60_000,
    });
    if (!admitted.ok) throw new Error(admitted.refusal);
    await t.cardSaying(sealed.terms.id, 'Approved, running now');
    await t.store.finish(admitted.admission, { outcome: 'unknown', why: 'the connection broke <!here>' });
    const card = await t.cardSaying(sealed.terms.id, 'OUTCOME UNKNOWN');
    expect(seenIn(card.blocks)).toContain('the connection broke <!here>');
    expect(seenIn(card.blocks)).toContain('Approved by <@U0ANA>');
    await t
      .person('U0CHEN')
      .waitForMessage(
        CHANNEL,
        ({ threadTs, text }) => threadTs === message.ts && text.includes('is not known'),
      );
  });

  it('makes no card for a call that the policy itself allows, unless its outcome is unknown', async () => {
    const sealed = await t.propose({ automatic: {} });
    // Nor does it stand in the queue of those that people wait for.
    expect(await redis.client.zcard('{s0}:cards:post:acme')).toBe(0);
    const admitted = await t.store.admit({
      id: sealed.terms.id,
      termsDigest: sealed.termsDigest,
      admission: '1'.repeat(32),
      executor: 'executor-1',
      leaseMs: 60_000,
    });
    if (!admitted.ok) throw new Error(admitted.refusal);
    expect(await redis.client.zcard('{s0}:cards:post:acme')).toBe(0);
    expect(await cardsOf(sealed.terms.id)).toHaveLength(0);
    await t.store.finish(admitted.admission, { outcome: 'unknown', why: 'it died' });
    await t.cardSaying(sealed.terms.id, 'OUTCOME UNKNOWN');
    await expect.poll(() => cardsOf(sealed.terms.id)).toHaveLength(1);
  });

  it.each([
    ['the bot is not in the channel', 'bot_not_in_channel', /invite/],
    ['the channel is archived', 'channel_archived', /unarchive/],
    ['the channel is gone', 'channel_not_found', /check the id/],
  ])('gives up where %s, tells the operators what to do, and audits it', async (_, code, remedy) => {
    const workspace = findWorkspace(t.slack.world, 'T0ACME');
    const channel = workspace && findChannel(workspace, CHANNEL);
    if (workspace === undefined || channel === undefined) throw new Error('no channel');
    if (code === 'bot_not_in_channel')
      channel.members = channel.members.filter((user) => user !== 'U0BOTACME');
    if (code === 'channel_archived') channel.isArchived = true;
    if (code === 'channel_not_found')
      workspace.channels = workspace.channels.filter(({ id }) => id !== CHANNEL);
    const sealed = await t.propose();
    await expect.poll(() => t.entries('card.abandoned')).toHaveLength(1);
    await expect.poll(() => t.surface.problems()).toMatchObject([{ tenant: 'acme', code }]);
    expect(t.surface.problems()[0]?.message).toMatch(remedy);
    await expect.poll(() => t.logged.join('')).toMatch(remedy);
    await expect
      .poll(() => t.entries('alarm.raised'))
      .toMatchObject([{ tenant: 'acme', detail: { alarm: code } }]);
    await expect
      .poll(async () => (await t.store.read(sealed.terms.id))?.state)
      .toMatchObject({
        status: 'halted',
        cause: { kind: 'refused', refusal: code, message: expect.stringMatching(remedy) },
      });
  });

  it('posts a card anew where somebody deleted it', async () => {
    const { sealed, message } = await t.card();
    // As if the message were gone: the stored place names one that is not there.
    const [key] = (await redis.client.keys('*')).filter((name) => name.endsWith(sealed.terms.id));
    const stored = JSON.parse((await redis.client.hget(key ?? '', 'card')) ?? '{}') as object;
    await redis.client.hset(key ?? '', 'card', JSON.stringify({ ...stored, ts: '1.000001' }));
    await t.store.decide(signedDecision(sealed, 'deny', ANA));
    const card = await t.cardSaying(sealed.terms.id, 'Denied');
    expect(card.ts).not.toBe(message.ts);
    await expect.poll(async () => (await t.store.read(sealed.terms.id))?.card?.ts).toBe(card.ts);
  });

  it('shows nobody as an approver whose approval we did not sign, and raises an alarm', async () => {
    const { sealed } = await t.card({ rule: { quorum: 2 } });
    await t.store.decide(signedDecision(sealed, 'approve', ANA, { keys: newTestKeys() }));
    await expect.poll(() => t.entries('alarm.raised')).not.toEqual([]);
    const [card] = await cardsOf(sealed.terms.id);
    expect(seenIn(card?.blocks)).not.toContain('Approved by');
  });

  it('shows nothing of a record whose seal is broken', async () => {
    await t.surface.stop();
    const sealed = await t.propose();
    const [key] = (await redis.client.keys('*')).filter((name) => name.endsWith(sealed.terms.id));
    await redis.client.hset(key ?? '', 'seal', digestOf('seal', 'forged'));
    await t.replica();
    await expect.poll(() => t.entries('card.abandoned')).toHaveLength(1);
    expect(await cardsOf(sealed.terms.id)).toHaveLength(0);
    await expect.poll(() => t.entries('alarm.raised')).toHaveLength(1);
  });

  it('keeps to about one message a second in a channel, and loses none of a burst', async () => {
    const sealed = await Promise.all(
      Array.from({ length: 6 }, (_, i) => t.propose({ arguments: { ticket: `T-${i}` } })),
    );
    for (const { terms } of sealed) await t.cardSaying(terms.id, 'Approval needed');
    expect(t.slack.traffic.calls('chat.postMessage').every(({ status }) => status === 200)).toBe(true);
  });

  it('logs nothing that an agent wrote and no token', async () => {
    const { message } = await t.card({ arguments: { ticket: 'SECRETARGUMENT' } });
    t.slack.faults.unavailable(1, 'chat.update');
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.told('U0ANA', 'is recorded');
    const log = t.logged.join('');
    expect(log).not.toContain('SECRETARGUMENT');
    expect(log).not.toMatch(/xox[a-z]-|xapp-/);
  });
});
