import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, it } from 'vitest';
import { PERMIT_LIFE_MS } from '../../src/core/switch/write-switch.ts';
import { OutcomeUnknown } from '../../src/guard/call-errors.ts';
import { ACTIONS } from '../../src/slack/card.ts';
import { CHANNEL, CONTEXT, type LedgerInstallation, startLedgerInstallation } from './ledger-installation.ts';

/** A replica that is killed while it draws a card keeps its channel waiting for half a minute. */
const WAIT_MS = 50_000;

let world: LedgerInstallation | undefined;
afterEach(async () => {
  await world?.stop();
  world = undefined;
});

describe('a part that is killed', () => {
  it('[execution:at-most-once] the executor, during a call: the outcome is unknown on the card, and nothing runs twice', async () => {
    world = await startLedgerInstallation();
    const handle = await world.guard.propose(write('one'), CONTEXT);
    await world.ana.click(await world.card(handle.id), ACTIONS.approve);
    await until(() => world?.ledger().length === 1);
    await world.executor.kill9();
    await world.executor.start();
    world.letGo();

    await expect(handle.result({ timeout: WAIT_MS })).rejects.toBeInstanceOf(OutcomeUnknown);
    const card = await world.ana.waitForMessage(
      CHANNEL,
      (message) => /unknown/i.test(message.text) && JSON.stringify(message.blocks).includes(handle.id),
      WAIT_MS,
    );
    expect(card.blocks.some((block) => block.type === 'actions')).toBe(false);
    expect(world.ledger()).toEqual(['one']);
    // The restarted executor works, on what is new.
    const next = await world.guard.propose(write('two'), CONTEXT);
    await world.ana.click(await world.card(next.id), ACTIONS.approve);
    await expect(next.result({ timeout: WAIT_MS })).resolves.toEqual({ written: 'two' });
    expect(world.ledger()).toEqual(['one', 'two']);
  }, 150_000);

  it('the approval service, between the decision and the queue: the call runs after its restart, once', async () => {
    world = await startLedgerInstallation();
    world.letGo();
    const handle = await world.guard.propose(write('one'), CONTEXT);
    const card = await world.card(handle.id);
    // With nobody to take the job, and the service killed at the very word that the decision is written.
    await world.executor.stop();
    const { approvals, redis } = world;
    const listener = new Redis(redis.connectionOptions);
    const killed = new Promise<void>((resolve) => {
      listener.on('message', () => void approvals.kill9().then(resolve));
    });
    await listener.subscribe(`{s0}:news:${handle.id}`);
    void world.ana.click(card, ACTIONS.approve);
    await killed;
    listener.disconnect();
    expect(await handle.status()).toBe('approved');

    await world.approvals.start();
    await world.executor.start();
    await expect(handle.result({ timeout: WAIT_MS })).resolves.toEqual({ written: 'one' });
    expect(world.ledger()).toEqual(['one']);
    await world.ana.waitForMessage(
      CHANNEL,
      (message) => message.ts === card.ts && !message.blocks.some((block) => block.type === 'actions'),
      WAIT_MS,
    );
  }, 150_000);

  it('the agent, while it waits: another process attaches and gets the result (in HTTP mode)', async () => {
    world = await startLedgerInstallation('http');
    world.letGo();
    const agent = startAgent(world);
    const [id] = (await once(createInterface({ input: agent.stdout }), 'line')) as [string];
    agent.kill('SIGKILL');
    await once(agent, 'exit');
    await world.ana.click(await world.card(id), ACTIONS.approve);
    const handle = await world.guard.attach(id, { ...CONTEXT, run: 'after-the-crash' });
    await expect(handle.result({ timeout: WAIT_MS })).resolves.toEqual({ written: 'from the agent' });
    expect(world.ledger()).toEqual(['from the agent']);
  }, 150_000);

  it('[switch:dead-man] every approval service: writes stop by themselves within the life of a permit', async () => {
    world = await startLedgerInstallation();
    world.letGo();
    await world.approvals.kill9();
    const { guard, redis } = world;
    const client = new Redis(redis.connectionOptions);
    const left = await client.pttl('{s0}:armed');
    client.disconnect();
    expect(left).toBeLessThanOrEqual(PERMIT_LIFE_MS);
    const proposing = () =>
      guard.propose(write('x'), CONTEXT).then(
        (handle) => handle.withdraw().then(() => undefined),
        (error: unknown) => error,
      );
    await expect.poll(proposing).toMatchObject({ code: 'writes_disabled' });
    expect(world.ledger()).toEqual([]);
    // And come back by themselves with the service: the durable state was on all the time.
    await world.approvals.start();
    await until(async () => (await world?.writeSwitch.status())?.state === 'on');
  }, 150_000);
});

function write(entry: string) {
  return { tool: 'ledger.write', args: { entry } };
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const giveUp = performance.now() + WAIT_MS;
  while (!(await holds())) {
    if (performance.now() > giveUp) throw new Error('it did not come true');
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** An agent in a process of its own: proposes, says the id, and waits. */
function startAgent({ directory, redis, keys, toolsPath }: LedgerInstallation) {
  const createGuard = new URL('../../src/create-guard.ts', import.meta.url).href;
  const program = join(directory, 'agent.mjs');
  writeFileSync(
    program,
    `
import { readFileSync } from 'node:fs';
import { createGuard } from ${JSON.stringify(createGuard)};
import { tools } from ${JSON.stringify(toolsPath)};
const guard = createGuard({
  policy: readFileSync(${JSON.stringify(join(directory, 'policy.yaml'))}, 'utf8'),
  tools,
  redis: ${JSON.stringify(redis.connectionOptions)},
  proposalKey: ${JSON.stringify(keys.COUNTERSIGN_PROPOSAL_KEY)},
});
const handle = await guard.propose({ tool: 'ledger.write', args: { entry: 'from the agent' } }, ${JSON.stringify(CONTEXT)});
console.log(handle.id);
await handle.result();
`,
  );
  return spawn(process.execPath, ['--import', 'tsx', program], { stdio: ['ignore', 'pipe', 'inherit'] });
}
