import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { verifyAudit } from '../../src/audit-files/verify.ts';
import { auditKeyId, auditPublicKeyOf } from '../../src/core/audit/checkpoint.ts';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import type { PartProcess } from '../../src/demo/installation.ts';
import { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import { ACTIONS } from '../../src/slack/card.ts';
import {
  CHANNEL,
  CONTEXT,
  type LedgerInstallation,
  startLedgerInstallation,
} from '../scenarios/ledger-installation.ts';
import { ledgerPolicy } from './ledger-policy.ts';
import { expectWell, health, readiness } from './part-health.ts';
import { sealedLines } from './sealed-lines.ts';
import { type Tally, tally } from './tally.ts';

/**
 * SIGTERM, as a deployment sends it, at the worst moments: what is in hand ends, or is said to be left; the process ends
 * by itself, and whoever comes next goes on.
 */

const POLICY = ledgerPolicy({ expiresIn: '1h', startWithin: '30m' });
const WAIT = { timeout: 120_000, interval: 50 };

let world: LedgerInstallation;
afterEach(() => world?.stop());

async function propose(count: number, name: string): Promise<{ id: ProposalId; entry: string }[]> {
  const calls: { id: ProposalId; entry: string }[] = [];
  for (let i = 0; i < count; i += 1) {
    const entry = `${name} ${i}`;
    const { id } = await world.guard.propose({ tool: 'ledger.write', args: { entry } }, CONTEXT);
    calls.push({ id, entry });
  }
  return calls;
}

const status = async (id: ProposalId) => (await world.store.read(id))?.state.status;

async function approve(id: ProposalId): Promise<void> {
  const card = await world.card(id);
  const round = async () => {
    if ((await status(id)) === 'pending') await world.ana.click(card, ACTIONS.approve);
    return status(id);
  };
  await expect.poll(round, { ...WAIT, interval: 500 }).not.toBe('pending');
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/**
 * Asks the process to end; `meanwhile` happens while it does. It ends by itself, or the test fails; and from when it says
 * that it stops, no balancer is told to send anything there.
 */
async function terminated(part: PartProcess, meanwhile: () => unknown = () => {}): Promise<string> {
  const { pid } = part;
  const said = readFileSync(part.logPath, 'utf8').length;
  const log = () => readFileSync(part.logPath, 'utf8').slice(said);
  const sentThere: number[] = [];
  process.kill(pid, 'SIGTERM');
  const looking = (async () => {
    while (isAlive(pid)) {
      const stopping = log().includes('"stopping"');
      const told = await readiness(part);
      if (stopping && told === 200) sentThere.push(told);
      await sleep(20);
    }
  })();
  await meanwhile();
  await expect.poll(() => isAlive(pid), WAIT).toBe(false);
  await looking;
  expect(sentThere).toEqual([]);
  expect(await readiness(part)).toBe('gone');
  return log();
}

function verdict(): string {
  const key = auditPublicKeyOf(world.keys.COUNTERSIGN_AUDIT_PUBLIC_KEY);
  return verifyAudit(world.auditDirectory, { keys: new Map([[auditKeyId(key), key]]) }).verdict;
}

async function auditVerifies(row: Tally): Promise<void> {
  await world.approvals.stop();
  row.audit(verdict() === 'intact');
  expect(verdict()).toBe('intact');
}

/** Places in the stream of what lies in the files. */
function sealedPlaces(): Set<string> {
  return new Set(
    sealedLines(world.auditDirectory).flatMap(
      (line) => (JSON.parse(line) as { entry?: { place: string } }).entry?.place ?? [],
    ),
  );
}

describe('SIGTERM to the executor', () => {
  it('lets running calls end, takes no new ones, and leaves nothing', async () => {
    world = await startLedgerInstallation('socket', POLICY, { answering: true });
    const calls = await propose(5, 'in hand');
    for (const { id } of calls) await approve(id);
    await expect.poll(() => world.ledger().length, WAIT).toBe(5);
    const [late] = await propose(1, 'late');
    if (late === undefined) throw new Error('none');
    const card = await world.card(late.id);

    const row = tally('SIGTERM to the executor');
    row.injected();
    const log = await terminated(world.executor, async () => {
      await expect.poll(() => readiness(world.executor), WAIT).toBe(503);
      expect(await health(world.executor)).toMatchObject({
        status: 'ok',
        stopping: true,
        redis: { ok: true },
      });
      await world.ana.click(card, ACTIONS.approve);
      world.letGo();
    });
    expect(log).toContain('"stopped"');
    expect(log).not.toContain('was still running');
    for (const { id } of calls) expect(await status(id)).toBe('succeeded');
    // What came while it stopped is the next one's.
    await approve(late.id);
    await world.executor.start();
    await expect.poll(() => status(late.id), WAIT).toBe('succeeded');
    const ledger = world.ledger();
    row.doubled(ledger.length - new Set(ledger).size);
    expect(ledger.toSorted()).toEqual([...calls, late].map(({ entry }) => entry).toSorted());
    await auditVerifies(row);
  });

  it('gives up a call that does not end, says so, and nobody runs it again', async () => {
    world = await startLedgerInstallation('socket', POLICY, { answering: true });
    const [call] = await propose(1, 'endless');
    if (call === undefined) throw new Error('none');
    await approve(call.id);
    await expect.poll(() => world.ledger().length, WAIT).toBe(1);
    const row = tally('SIGTERM to the executor');
    row.injected();
    const log = await terminated(world.executor);
    expect(log).toMatch(/was still running; it will be settled as unknown|"outcome":"unknown"/);
    expect(log).toContain('"stopped"');
    await world.executor.start();
    world.letGo();
    await expect.poll(() => status(call.id), WAIT).toBe('unknown');
    await world.ana.waitForMessage(CHANNEL, ({ text }) => text.startsWith('OUTCOME UNKNOWN'), WAIT.timeout);
    row.doubled(world.ledger().length - 1);
    expect(world.ledger()).toEqual([call.entry]);
    await auditVerifies(row);
  });
});

describe.each(['socket', 'http'] as const)('SIGTERM to the approval service, in %s mode', (mode) => {
  it('answers the clicks in hand, seals everything, and whoever starts next goes on', async () => {
    world = await startLedgerInstallation(mode, POLICY, { answering: true });
    world.letGo();
    const people = ['U0ANA', 'U0BEN'].map(
      (user) => new SlackPerson(world.slack.url, { team: 'T0ACME', user }),
    );
    const calls = await propose(5, 'clicked');
    const cards = await Promise.all(calls.map(({ id }) => world.card(id)));
    const acknowledged: { id: ProposalId; user: string }[] = [];
    const clicks = calls.flatMap(({ id }, i) =>
      people.map(async (person) => {
        const card = cards[i];
        if (card === undefined) throw new Error('no card');
        const { ok } = await person.click(card, ACTIONS.approve);
        if (ok) acknowledged.push({ id, user: person.user });
      }),
    );
    const row = tally(`SIGTERM to the approval service`);
    row.injected();
    const log = await terminated(world.approvals, () => Promise.all(clicks));
    expect(log).toContain('"stopped"');
    expect(log).not.toMatch(/are not sealed|could not be sealed/);

    // Each click that Slack said had arrived was decided or refused, and it is sealed.
    const entries = await world.audit.read({ tenant: 'acme', limit: 5_000 });
    const unanswered = acknowledged.filter(
      ({ id, user }) =>
        !entries.some(
          ({ kind, proposal, detail }) =>
            kind.startsWith('decision.') && proposal === id && JSON.stringify(detail).includes(user),
        ),
    );
    row.lost(unanswered.length);
    expect(unanswered).toEqual([]);
    row.audit(verdict() === 'intact');
    expect(verdict()).toBe('intact');
    // The executor goes on meanwhile; what this service wrote it has sealed.
    const places = sealedPlaces();
    const decisions = entries.filter(({ kind }) => kind.startsWith('decision.'));
    expect(decisions.filter(({ place }) => !places.has(place))).toEqual([]);

    await world.approvals.start();
    if (mode === 'http') {
      world.slack.deliverTo({ mode, url: `http://127.0.0.1:${world.approvals.port}/slack/events` });
    }
    for (const { id } of calls) await approve(id);
    for (const { id } of calls) await expect.poll(() => status(id), WAIT).toBe('succeeded');
    const ledger = world.ledger();
    row.doubled(ledger.length - new Set(ledger).size);
    expect(ledger.toSorted()).toEqual(calls.map(({ entry }) => entry).toSorted());
  });
});

describe('SIGTERM where nothing answers', () => {
  it('with Slack down, the approval service ends by itself and everything is sealed', async () => {
    world = await startLedgerInstallation('socket', POLICY, { answering: true });
    world.letGo();
    await propose(3, 'unseen');
    world.slack.faults.downFor(600_000);
    await expect.poll(() => readiness(world.approvals), WAIT).toBe(503);
    const row = tally('SIGTERM with Slack down');
    row.injected();
    expect(await terminated(world.approvals)).toContain('"stopped"');
    row.audit(verdict() === 'intact');
    expect(verdict()).toBe('intact');
    world.slack.faults.clear();
    await world.approvals.start();
    const [call] = await propose(1, 'seen');
    if (call === undefined) throw new Error('none');
    await approve(call.id);
    await expect.poll(() => status(call.id), WAIT).toBe('succeeded');
  });

  it('with Redis gone, both end by themselves and say what is left', async () => {
    world = await startLedgerInstallation('socket', POLICY, { answering: true });
    world.letGo();
    const [call] = await propose(1, 'before');
    if (call === undefined) throw new Error('none');
    await approve(call.id);
    await expect.poll(() => status(call.id), WAIT).toBe('succeeded');
    await world.redis.stop();
    for (const part of [world.approvals, world.executor]) {
      await expect
        .poll(() => health(part), WAIT)
        .toMatchObject({ status: 'failing', redis: { ok: false, problem: 'Redis does not answer' } });
      expect(await readiness(part)).toBe(503);
    }
    const row = tally('SIGTERM with Redis gone');
    row.injected(2);
    const [approvals, executor] = await Promise.all([
      terminated(world.approvals),
      terminated(world.executor),
    ]);
    expect(approvals).toMatch(/could not be sealed to its end|not everything ended/);
    expect(executor).toContain('"stopped"');
    // What was written and not yet signed is signed by whoever seals next.
    await world.redis.restart();
    await world.approvals.start();
    await expectWell(world.approvals);
    // Once the lease has lapsed that could not be given back.
    await expect.poll(verdict, WAIT).toBe('intact');
    row.audit(true);
  });
});
