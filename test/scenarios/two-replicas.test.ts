import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, it } from 'vitest';
import { proposalKeysIn } from '../../src/core/proposal/seal.ts';
import { createGuard, type OpenGuard } from '../../src/create-guard.ts';
import { type Installation, PartProcess, startInstallation } from '../../src/demo/installation.ts';
import { openRedis } from '../../src/redis/connection.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import type { SeenMessage } from '../../src/sandbox/slack/person-interface.ts';
import { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import { ACTIONS } from '../../src/slack/card.ts';
import { loadTools } from '../../src/tools-module.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const CHANNEL = 'C0ACMEAPP';
const CONTEXT = {
  tenant: 'acme',
  environment: 'production',
  agent: 'note-bot',
  principal: 'slack:T0ACME/U0RITA',
  run: 'run-1',
};

/** A card for each call, however many. */
const POLICY = `
version: 1
tools: { allow: [note.write] }
write_tools: { enabled: true }
approvals:
  required_for: [note.write]
  defaults: { approvers: ["usergroup:S0SUPPORT"], expires_in: 10m }
tenants:
  acme:
    slack: { team: T0ACME, channel: ${CHANNEL} }
    environments: [production]
    limits: { pending_per_agent: 100, fold_above: 100 }
switch: { operators: ["usergroup:S0ONCALL"], arming: { operators: ["user:U0LEAD"] } }
`;

const TOOLS = `
import { z } from 'zod';
import { defineTool } from ${JSON.stringify(new URL('../../src/core/tool/tool.ts', import.meta.url).href)};
export const tools = [
  defineTool({
    name: 'note.write',
    description: 'Writes a note.',
    effect: 'write',
    input: z.strictObject({ note: z.string() }),
    execute: async ({ note }) => ({ written: note }),
  }),
];
`;

interface TwoReplicas extends Installation {
  readonly other: PartProcess;
  readonly guard: OpenGuard;
  readonly store: ProposalStoreRedis;
}

const WAIT = { timeout: 90_000, interval: 200 };

type End = () => Promise<void>;

/** @param onEnd the last one that was given is called first. */
async function start(mode: 'socket' | 'http', onEnd: (end: End) => void): Promise<TwoReplicas> {
  mkdirSync(join(ROOT, '.countersign'), { recursive: true });
  const directory = mkdtempSync(join(ROOT, '.countersign', 'replicas-'));
  onEnd(async () => rmSync(directory, { recursive: true, force: true }));
  const installation = await startInstallation({
    directory,
    port: 0,
    mode,
    policyText: POLICY,
    toolsModule: TOOLS,
    credentials: directory,
  });
  onEnd(() => installation.stop());
  const { redis, keys, toolsPath, approvals } = installation;
  const connections = openRedis({ connection: redis.connectionOptions });
  onEnd(async () => connections.close());
  const shared = { redis: connections.redis, shards: 1 };
  const writeSwitch = new WriteSwitchRedis(shared);
  const { epoch } = await writeSwitch.status();
  await writeSwitch.on({ scope: {}, by: 'cli:test', why: 'the test begins', expectedEpoch: epoch });
  const guard = createGuard({
    policy: POLICY,
    tools: await loadTools(toolsPath),
    redis: redis.connectionOptions,
    proposalKey: keys.COUNTERSIGN_PROPOSAL_KEY,
    logger: pino({ level: 'silent' }),
  });
  onEnd(() => guard.close());
  // The same settings: nothing but its process is another one's.
  const settings = readFileSync(approvals.envPath, 'utf8').trim().split('\n');
  const variables = settings.map((line) => [
    line.slice(0, line.indexOf('=')),
    line.slice(line.indexOf('=') + 1),
  ]);
  const apart = join(directory, 'other');
  mkdirSync(apart);
  const other = new PartProcess('start', apart, Object.fromEntries(variables));
  await other.start();
  onEnd(() => other.stop());
  return {
    ...installation,
    other,
    guard,
    store: new ProposalStoreRedis({ ...shared, keys: proposalKeysIn(keys.COUNTERSIGN_PROPOSAL_KEY) }),
  };
}

// They wait for Slack's one message a second and for a dead replica's lease, so they wait together.
describe.concurrent.each(['socket', 'http'] as const)(
  'two replicas of the approval service, in %s mode',
  (mode) => {
    it('post one card for each of 30 proposals and in their order, though one of them is killed in the middle', async ({
      expect,
      onTestFinished,
    }) => {
      const { other, guard, slack, store } = await start(mode, onTestFinished);
      const lea = new SlackPerson(slack.url, { team: 'T0ACME', user: 'U0LEAD' });
      const ana = new SlackPerson(slack.url, { team: 'T0ACME', user: 'U0ANA' });
      const cards = async (): Promise<{ id: string; message: SeenMessage }[]> =>
        (await lea.messages(CHANNEL))
          .filter(({ threadTs }) => threadTs === undefined)
          .toSorted((a, b) => Number(a.ts) - Number(b.ts))
          .flatMap((message) => {
            const id = /prop_[0-9a-z]+/.exec(JSON.stringify(message.blocks))?.[0];
            return id === undefined ? [] : [{ id, message }];
          });
      const ids: string[] = [];
      for (let i = 0; i < 30; i += 1) {
        ids.push((await guard.propose({ tool: 'note.write', args: { note: `note ${i}` } }, CONTEXT)).id);
      }
      await expect.poll(async () => (await cards()).length, WAIT).toBeGreaterThan(8);
      await other.kill9();
      await expect.poll(async () => new Set((await cards()).map(({ id }) => id)).size, WAIT).toBe(30);

      // Where it died between Slack's answer and our note of it, and only there, a copy of that one card stands above.
      const shown = (await cards()).map(({ id }) => id);
      const live: string[] = [];
      for (const { id, message } of await cards()) {
        const record = await store.read(id as Parameters<typeof store.read>[0]);
        if (record?.card?.ts === message.ts) live.push(id);
        else expect(record?.unseenCards).toBe(1);
      }
      expect(live).toEqual(ids);
      expect(shown.length).toBeLessThanOrEqual(31);
      expect(slack.traffic.calls('chat.postMessage').filter(({ status }) => status === 429)).toEqual([]);

      // The one that is left hears the click, or in HTTP mode is the one that Slack sends to.
      const last = (await cards()).at(-1);
      if (last === undefined) throw new Error('no card');
      await ana.click(last.message, ACTIONS.approve);
      const decided = last.id as Parameters<typeof store.read>[0];
      await expect.poll(async () => (await store.read(decided))?.state.approvals.length, WAIT).toBe(1);
    }, 150_000);
  },
);

describe.concurrent('a channel that nobody can be asked in', () => {
  it('is a clear refusal to the agent, at once; after its repair people are asked again', async ({
    expect,
    onTestFinished,
  }) => {
    const { guard, slack } = await start('socket', onTestFinished);
    const channel = slack.world.workspaces
      .find(({ team }) => team === 'T0ACME')
      ?.channels.find(({ id }) => id === CHANNEL);
    if (channel === undefined) throw new Error('no channel');
    channel.isArchived = true;
    const call = { tool: 'note.write', args: { note: 'one' } };
    await expect(guard.call(call, CONTEXT, { timeout: 60_000 })).rejects.toMatchObject({
      code: 'halted',
      message: expect.stringMatching(/nobody could be asked.*archived.*It was not run/),
    });
    channel.isArchived = false;
    const { id } = await guard.propose({ ...call, args: { note: 'two' } }, CONTEXT);
    await new SlackPerson(slack.url, { team: 'T0ACME', user: 'U0ANA' }).waitForMessage(
      CHANNEL,
      ({ blocks }) => JSON.stringify(blocks).includes(id),
      60_000,
    );
  }, 150_000);
});
