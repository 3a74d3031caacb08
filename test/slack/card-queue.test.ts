import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EndedProposals } from '../../src/core/proposal/ended-proposals.ts';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { CardOutboxRedis } from '../../src/redis/card-outbox-redis.ts';
import { FoldingRedis } from '../../src/redis/folding-redis.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { demoWorld } from '../../src/sandbox/slack/demo-world.ts';
import { type LocalSlack, startLocalSlack } from '../../src/sandbox/slack/local-slack.ts';
import type { SeenMessage } from '../../src/sandbox/slack/person-interface.ts';
import { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import { findChannel, findWorkspace } from '../../src/sandbox/slack/slack-world.ts';
import { Channels, type SlackProblem } from '../../src/slack/channels.ts';
import { connectWorkspaces } from '../../src/slack/clients.ts';
import { SLACK_PACE } from '../../src/slack/pace.ts';
import { CardPublisher } from '../../src/slack/publisher.ts';
import { redisForTests } from '../redis-for-tests.ts';
import {
  ANA,
  BEN,
  sealedTerms,
  signedDecision,
  type TermsOverrides,
  testContext,
  testKeys,
} from '../sealed-terms.ts';
import { seenIn } from './card-views.ts';

const ACME = { team: 'T0ACME', channel: 'C0ACMEAPP' };
const GLOBEX = { team: 'T0GLOBEX', channel: 'C0GLOBEX' };

/** Slack's own limits, by a clock that goes faster; and Slack's own rates, by the same clock. */
const SPEED = 20;
const PACE = {
  posts: { burst: SLACK_PACE.posts.burst, everyMs: SLACK_PACE.posts.everyMs / SPEED + 2 },
  updates: { burst: SLACK_PACE.updates.burst, everyMs: SLACK_PACE.updates.everyMs / SPEED },
  // A busy machine may need long for one card.
  leaseMs: 10_000,
  repairEveryMs: 300,
};

/** Of a publisher that is gone. */
const DEAD_LEASE_MS = 1_500;

const redis = redisForTests();

describe('the cards of a channel', () => {
  let slack: LocalSlack;
  let stores: ReturnType<typeof storesOver>;
  let problems: SlackProblem[];
  let writeSwitch: WriteSwitchRedis;
  let asked = 0;
  const running: CardPublisher[] = [];
  const startedAt = Date.now();
  let frozenAt: number | undefined;
  const clock = () => frozenAt ?? startedAt + (Date.now() - startedAt) * SPEED;

  function storesOver(client: Redis, subscriber: Redis) {
    const shards = 1;
    return {
      store: new ProposalStoreRedis({ redis: client, shards, keys: [testKeys.proposal] }),
      outbox: new CardOutboxRedis({ redis: client, subscriber, shards }),
      audit: new AuditLogRedis({ redis: client, shards }),
      folding: new FoldingRedis({ redis: client, shards }),
    };
  }

  beforeEach(async () => {
    frozenAt = undefined;
    slack = await startLocalSlack({ world: demoWorld(), delivery: { mode: 'socket' }, now: clock });
    stores = storesOver(redis.client, redis.connect());
    problems = [];
    writeSwitch = new WriteSwitchRedis({ redis: redis.client, shards: 1, startDeadlineMs: 5 });
    const { epoch } = await writeSwitch.status();
    await writeSwitch.on({ scope: {}, by: 'cli:test', why: 'the test begins', expectedEpoch: epoch });
  });

  afterEach(async () => {
    await Promise.all(running.splice(0).map((publisher) => publisher.stop()));
    await slack.close();
  });

  /** One replica. */
  async function publisher(change: { pace?: Partial<typeof PACE> } = {}): Promise<CardPublisher> {
    const logger = pino({ level: 'silent' });
    const tokens = slack.world.workspaces.flatMap(({ installation }) => installation?.botToken ?? []);
    const workspaces = await connectWorkspaces(tokens, { apiUrl: slack.apiUrl, logger });
    const made = new CardPublisher({
      ended: new EndedProposals(),
      ...storesOver(redis.connect(), redis.connect()),
      proposalKeys: [testKeys.proposal],
      approvalKeys: [testKeys.approvalPublic],
      placeOf: (tenant) => (tenant === 'globex' ? GLOBEX : ACME),
      workspaceOf: (team) => workspaces.get(team),
      redactOf: () => [],
      foldAbove: () => 1_000,
      isIrreversible: () => false,
      channels: new Channels(clock),
      onProblem: (problem) => void problems.push(problem),
      pace: { ...PACE, ...change.pace },
      logger,
      clock: Date.now,
    });
    running.push(made);
    await made.start();
    return made;
  }

  async function propose(given: Partial<TermsOverrides> = {}): Promise<SealedTerms> {
    await writeSwitch.renewPermits();
    const { epoch } = await writeSwitch.status();
    asked += 1;
    // No two alike: they would share a card.
    const ticket = { ticket: `T-${asked}` };
    const sealed = sealedTerms({ now: await stores.store.now(), epoch, arguments: ticket, ...given });
    const created = await stores.store.create(sealed, { pendingPerAgent: 500, pendingPerTenant: 500 });
    expect(created.created).toBe('new');
    return sealed;
  }

  async function proposeMany(count: number): Promise<ProposalId[]> {
    const ids: ProposalId[] = [];
    for (let i = 0; i < count; i += 1) {
      ids.push((await propose()).terms.id);
    }
    return ids;
  }

  async function messages(place = ACME): Promise<SeenMessage[]> {
    const user = place === ACME ? 'U0CHEN' : 'U0OMAR';
    return new SlackPerson(slack.url, { team: place.team, user }).messages(place.channel);
  }

  /** Ids of proposals, one for each card that stands in the channel, from the top. */
  async function cards(place = ACME): Promise<string[]> {
    const found = (await messages(place)).filter(({ threadTs }) => threadTs === undefined);
    return found
      .toSorted((a, b) => Number(a.ts) - Number(b.ts))
      .flatMap(({ blocks }) => /prop_[0-9a-z]+/.exec(JSON.stringify(blocks))?.[0] ?? []);
  }

  async function cardOf(id: string, place = ACME): Promise<SeenMessage | undefined> {
    const ts = (await stores.store.read(id as ProposalId))?.card?.ts;
    return (await messages(place)).find((message) => message.ts === ts);
  }

  const thread = async () =>
    (await messages())
      .filter(({ threadTs }) => threadTs !== undefined)
      .toSorted((a, b) => Number(a.ts) - Number(b.ts))
      .map(({ text }) => text);
  const showing = (id: string, words: string) =>
    expect.poll(async () => seenIn((await cardOf(id))?.blocks)).toContain(words);
  const posts = () => slack.traffic.calls('chat.postMessage');
  const acmeChannel = () => {
    const workspace = findWorkspace(slack.world, ACME.team);
    const channel = workspace && findChannel(workspace, ACME.channel);
    if (channel === undefined) throw new Error('no channel');
    return channel;
  };
  const bring = (wish: object) =>
    fetch(`${slack.url}/sandbox/faults`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(wish),
    });

  describe('in their queue', () => {
    it('leave in the order in which they were proposed, each once, at Slack’s rate, whichever replica draws', async () => {
      const ids = await proposeMany(30);
      await Promise.all([publisher(), publisher(), publisher()]);
      await expect.poll(async () => (await cards()).length).toBe(30);
      await expect.poll(() => cards()).toEqual(ids);
      expect(posts().every(({ status }) => status === 200)).toBe(true);
    });

    it('keep their place where one of them has to wait', async () => {
      slack.faults.unavailable(1, 'chat.postMessage');
      slack.faults.rateLimit(4_000, 'chat.postMessage');
      const ids = await proposeMany(8);
      await Promise.all([publisher(), publisher()]);
      await expect.poll(async () => (await cards()).length).toBe(8);
      await expect.poll(() => cards()).toEqual(ids);
    });

    it('a 429 is heard by one replica and heeded by all', async () => {
      await Promise.all([publisher(), publisher(), publisher()]);
      const refused = () => posts().filter(({ status }) => status === 429);
      // However long the first post takes to come: until then no time passes in Slack.
      frozenAt = clock();
      slack.faults.rateLimit(3_000, 'chat.postMessage');
      const ids = await proposeMany(6);
      await expect.poll(refused).toHaveLength(1);
      frozenAt = undefined;
      await expect.poll(() => cards()).toEqual(ids);
      expect(refused()).toHaveLength(1);
    });

    it('an update does not wait behind a flood of first cards', async () => {
      await publisher({ pace: { posts: { burst: 1, everyMs: 200 } } });
      const first = await propose();
      await expect.poll(cards).toEqual([first.terms.id]);
      await proposeMany(30);
      await stores.store.decide(signedDecision(first, 'deny', ANA));
      await showing(first.terms.id, 'Denied');
      expect((await cards()).length).toBeLessThan(12);
    });

    it('a flood of one tenant holds up no other', async () => {
      await proposeMany(30);
      const other = await propose({ context: { tenant: 'globex' } });
      await publisher({ pace: { posts: { burst: 1, everyMs: 200 } } });
      await expect.poll(() => cards(GLOBEX)).toEqual([other.terms.id]);
      expect((await cards()).length).toBeLessThan(12);
    });

    it('one card that Slack never takes does not hold up those behind it for ever', async () => {
      const lane = await proposeMany(3);
      const { outbox } = stores;
      const [claim] = (await outbox.claim(10, 60_000)).claims;
      if (claim === undefined) throw new Error('nothing was marked');
      expect(claim.id).toBe(lane[0]);
      // Nobody else may post there meanwhile: the next one would overtake.
      expect((await outbox.claim(10, 60_000)).claims).toEqual([]);
      await outbox.postpone(claim, 60_000);
      expect((await outbox.claim(10, 60_000)).claims).toMatchObject([{ id: lane[1] }]);
    });
  });

  describe('of what was settled before anybody was shown it', () => {
    it('are not posted after an off, a withdrawal or a denial elsewhere', async () => {
      const dead = await proposeMany(40);
      const denied = await propose();
      const { agent, principal } = testContext();
      for (const id of dead) await stores.store.withdraw(id, { agent, principal });
      await stores.store.decide(signedDecision(denied, 'deny', ANA));
      const living = await propose();
      await publisher();
      await expect.poll(cards).toEqual([living.terms.id]);
      expect(posts()).toHaveLength(1);
      const kinds = (await stores.audit.read({ limit: 1_000 })).map(({ kind }) => kind);
      expect(kinds.filter((kind) => kind.startsWith('card.'))).toEqual(['card.posted']);
      expect((await stores.outbox.claim(10, 1)).claims).toEqual([]);
    });

    it.each([
      ['failed', { outcome: 'failed', code: 'broken', message: 'no' }],
      ['unknown', { outcome: 'unknown', why: 'the connection broke' }],
    ] as const)('are posted all the same where it %s', async (status, outcome) => {
      for (const given of [{}, { automatic: {} }]) {
        const sealed = await propose(given);
        const { id } = sealed.terms;
        if (!('automatic' in given)) await stores.store.decide(signedDecision(sealed, 'approve', ANA));
        const admitted = await stores.store.admit({
          id,
          termsDigest: sealed.termsDigest,
          admission: randomBytes(16).toString('hex'),
          executor: 'executor-1',
          leaseMs: 60_000,
        });
        if (!admitted.ok) throw new Error(admitted.refusal);
        await stores.store.finish(admitted.admission, outcome);
      }
      await publisher();
      await expect.poll(async () => (await cards()).length).toBe(2);
      expect(seenIn((await messages())[0]?.blocks)).toContain(status === 'failed' ? 'Failed' : 'unknown');
    });
  });

  describe('where a publisher dies', () => {
    /** A publisher that gets as far as `posted` and is gone. */
    async function died(posted: boolean): Promise<{ id: ProposalId; orphan: SeenMessage | undefined }> {
      const { id } = (await propose()).terms;
      const [claim] = (await stores.outbox.claim(1, DEAD_LEASE_MS)).claims;
      if (claim === undefined) throw new Error('nothing was marked');
      expect(await stores.outbox.begin(claim)).toBe(true);
      if (posted) {
        const aside = await publisher();
        await stores.outbox.postpone(claim, 0);
        await expect.poll(cards).toEqual([id]);
        await aside.stop();
        // As if it had died before it could write down where the card stands.
        const key = `{s0}:proposal:${id}`;
        await redis.client.hdel(key, 'card', 'cardRevision', 'told');
        await redis.client.hincrby(key, 'cardTries', 1);
      }
      return { id, orphan: (await messages())[0] };
    }

    it('before it could post: another posts it, once', async () => {
      const { id } = await died(false);
      await publisher();
      await expect.poll(cards).toEqual([id]);
      await expect.poll(async () => (await stores.store.read(id))?.card).toBeDefined();
      expect(posts()).toHaveLength(1);
    });

    it('after it had posted: the next card is the live one, and the first one is made to point to it', async () => {
      const { id, orphan } = await died(true);
      if (orphan === undefined) throw new Error('no card');
      const next = await publisher();
      await expect.poll(async () => (await cards()).length).toBe(2);
      await expect.poll(async () => (await stores.store.read(id))?.card).toBeDefined();
      expect((await stores.store.read(id))?.card?.ts).not.toBe(orphan.ts);
      await next.seen(id, { ...ACME, ts: orphan.ts });
      await expect.poll(cards).toEqual([id]);
      const copy = (await messages()).find(({ ts }) => ts === orphan.ts);
      expect(seenIn(copy?.blocks)).toContain('earlier copy');
      // Of no other message is believed that it is a card.
      const { card, revision } = (await stores.store.read(id)) ?? {};
      expect(card).toBeDefined();
      expect(revision).toBe(1);
    });

    it('after it had posted, and somebody clicks before there is a second one: that one is the card', async () => {
      const { id, orphan } = await died(true);
      if (orphan === undefined) throw new Error('no card');
      expect(await stores.outbox.seen(id, { ...ACME, ts: orphan.ts })).toBe('live');
      await publisher();
      await expect.poll(async () => (await stores.store.read(id))?.cardRevision).toBe(1);
      await expect.poll(() => cards()).toEqual([id]);
      expect((await stores.store.read(id))?.card?.ts).toBe(orphan.ts);
    });

    it('believes of no message that it is a card, where no post was begun and lost', async () => {
      const { id } = (await propose()).terms;
      expect(await stores.outbox.seen(id, { ...ACME, ts: '1.1' })).toBe('unknown');
      await publisher();
      await expect.poll(async () => (await stores.store.read(id))?.card).toBeDefined();
      expect(await stores.outbox.seen(id, { ...ACME, ts: '1.1' })).toBe('unknown');
    });

    it('a slow one does not undo what another one has drawn since', async () => {
      const { id } = (await propose()).terms;
      const [slow] = (await stores.outbox.claim(1, 1)).claims;
      if (slow === undefined) throw new Error('nothing was marked');
      await publisher();
      await expect.poll(async () => (await stores.store.read(id))?.card).toBeDefined();
      const before = await stores.store.read(id);
      expect(await stores.outbox.begin(slow)).toBe(false);
      await stores.outbox.abandon(slow, 'late');
      await stores.outbox.skip(slow, 99);
      await stores.outbox.postpone(slow, 1_000);
      expect(await stores.store.read(id)).toEqual(before);
      expect((await stores.audit.read({ limit: 100 })).map(({ kind }) => kind)).not.toContain(
        'card.abandoned',
      );
    });
  });

  describe('that people or Redis take away', () => {
    it('are posted again while they are to be decided on', async () => {
      const { id } = (await propose()).terms;
      await publisher();
      await expect.poll(async () => (await stores.store.read(id))?.card).toBeDefined();
      const first = await cardOf(id);
      await bring({ kind: 'delete_message', ...ACME, message: first?.ts });
      expect(await cards()).toEqual([]);
      await expect.poll(cards).toEqual([id]);
      await expect.poll(async () => (await cardOf(id))?.ts).not.toBe(first?.ts);
      expect(await cardOf(id)).toBeDefined();
    });

    it('are found at the start, in their order, also where every mark was lost', async () => {
      const shown = await propose();
      const first = await publisher();
      await expect.poll(async () => (await stores.store.read(shown.terms.id))?.card).toBeDefined();
      await first.stop();
      const ids = await proposeMany(6);
      await stores.store.decide(signedDecision(shown, 'deny', ANA));
      const marks = (await redis.client.keys('{s0}:card*')).filter((key) => key !== '{s0}:cards:news');
      expect(marks.length).toBeGreaterThan(1);
      await redis.client.del(...marks);
      await publisher();
      await showing(shown.terms.id, 'Denied');
      await expect.poll(cards).toEqual([shown.terms.id, ...ids]);
    });
  });

  describe('in a channel that cannot be written to', () => {
    it('are refused at once, the operators are told, and what is proposed after the repair is posted', async () => {
      await publisher();
      acmeChannel().isExtShared = true;
      const refused = await propose();
      await expect
        .poll(async () => (await stores.store.read(refused.terms.id))?.state)
        .toMatchObject({
          status: 'halted',
          cause: { kind: 'refused', refusal: 'channel_shared', message: /shared with another company/ },
        });
      // What an agent wants to write is not shown to another company.
      expect(posts()).toEqual([]);
      expect(problems).toMatchObject([{ tenant: 'acme', code: 'channel_shared' }]);
      acmeChannel().isExtShared = false;
      const { id } = (await propose()).terms;
      await expect.poll(cards).toEqual([id]);
    });

    it('are refused as well where people were about to decide on them', async () => {
      const sealed = await propose({ rule: { quorum: 2 } });
      await publisher();
      await expect.poll(cards).toEqual([sealed.terms.id]);
      acmeChannel().isArchived = true;
      await stores.store.decide(signedDecision(sealed, 'approve', ANA));
      await expect
        .poll(async () => (await stores.store.read(sealed.terms.id))?.state)
        .toMatchObject({ status: 'halted', cause: { refusal: 'channel_archived' } });
      // Given up once, and not anew with every repair.
      await new Promise((resolve) => setTimeout(resolve, 3 * PACE.repairEveryMs));
      const kinds = (await stores.audit.read({ limit: 100 })).map(({ kind }) => kind);
      expect(kinds.filter((kind) => kind === 'card.abandoned').length).toBeLessThanOrEqual(2);
    });
  });

  describe('and their threads', () => {
    async function decided(): Promise<ProposalId> {
      const sealed = await propose({ rule: { quorum: 2 } });
      const { id } = sealed.terms;
      await expect.poll(async () => (await stores.store.read(id))?.card).toBeDefined();
      await stores.store.decide(signedDecision(sealed, 'approve', ANA));
      await showing(id, '1 of 2');
      await stores.store.decide(signedDecision(sealed, 'deny', BEN));
      await showing(id, 'Denied');
      return id;
    }
    const told = async () => (await thread()).join('\n').match(/Approved by|Denied by/g);

    it('tell each thing once and in order, also after a restart', async () => {
      const first = await publisher();
      await decided();
      await expect.poll(told).toEqual(['Approved by', 'Denied by']);
      await first.stop();
      await Promise.all([publisher(), publisher()]);
      await new Promise((resolve) => setTimeout(resolve, 2 * PACE.repairEveryMs));
      await expect.poll(() => told()).toEqual(['Approved by', 'Denied by']);
    });

    it('lose nothing where the channel is at its limit, or Slack is away', async () => {
      await publisher({ pace: { posts: { burst: 1, everyMs: 400 } } });
      const sealed = await propose({ rule: { quorum: 2 } });
      await expect.poll(async () => (await stores.store.read(sealed.terms.id))?.card).toBeDefined();
      slack.faults.rateLimit(10_000, 'chat.postMessage');
      slack.faults.unavailable(1, 'chat.postMessage');
      await stores.store.decide(signedDecision(sealed, 'approve', ANA));
      await stores.store.decide(signedDecision(sealed, 'deny', BEN));
      await expect.poll(told, { timeout: 20_000 }).toEqual(['Approved by', 'Denied by']);
    }, 30_000);

    it('say nothing twice where a reply is lost: the card tells it all', async () => {
      await publisher();
      const sealed = await propose();
      await expect.poll(async () => (await stores.store.read(sealed.terms.id))?.card).toBeDefined();
      slack.faults.loseReply('chat.postMessage');
      await stores.store.decide(signedDecision(sealed, 'deny', ANA));
      await expect.poll(told).toEqual(['Denied by']);
      await new Promise((resolve) => setTimeout(resolve, 3 * PACE.repairEveryMs));
      await expect.poll(() => told()).toEqual(['Denied by']);
    });
  });
});
