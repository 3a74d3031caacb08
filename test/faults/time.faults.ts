import type { ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verifyAudit } from '../../src/audit-files/verify.ts';
import { auditKeyId, auditPublicKeyOf } from '../../src/core/audit/checkpoint.ts';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { findWorkspace } from '../../src/sandbox/slack/slack-world.ts';
import { ACTIONS } from '../../src/slack/card.ts';
import {
  CONTEXT,
  type LedgerInstallation,
  startLedgerInstallation,
} from '../scenarios/ledger-installation.ts';
import { ledgerPolicy } from './ledger-policy.ts';
import { type Answering, expectWell } from './part-health.ts';
import { PreloadedParts } from './preloaded-parts.ts';
import { tally } from './tally.ts';

/**
 * The wall clock of one process, and then of all, steps an hour ahead and an hour back, while proposals wait, are
 * decided and run. Redis's clock is the one for deadlines: nothing expires early, nothing lives on.
 */

const HOUR = 3_600_000;
const EXPIRES_MS = 60_000;
const WAIT = { timeout: 120_000, interval: 100 };
const POLICY = ledgerPolicy({ expiresIn: '1m', startWithin: '1m' });

type Part = 'guard' | 'approvals' | 'executor';
const PARTS: readonly Part[] = ['guard', 'approvals', 'executor'];

describe('a clock steps by an hour', () => {
  let world: LedgerInstallation;
  let began: number;
  let parts: PreloadedParts;
  const heard: { entry: string; proposed?: ProposalId; result?: unknown; error?: string; now: number }[] = [];
  const left: ProposalId[] = [];
  let agent: ChildProcess;
  let answering: readonly Answering[];

  beforeAll(async () => {
    world = await startLedgerInstallation('socket', POLICY, { answering: true });
    world.letGo();
    began = await world.store.now();
    // The same parts again, each over a clock that can be set.
    await Promise.all([world.approvals.stop(), world.executor.stop()]);
    for (const part of PARTS) step(part, 0);
    const variables = (which: string) => ({ SHIFTED_CLOCK: clockFile(which) });
    parts = new PreloadedParts(world.directory, new URL('./shifted-clock.mjs', import.meta.url), variables);
    answering = await Promise.all([
      parts.cli('approvals', world.approvals.envPath, 'start'),
      parts.cli('executor', world.executor.envPath, 'executor'),
    ]);
    agent = parts.program('guard', 'line-agent.mjs', {
      createGuardFrom: new URL('../../src/create-guard.ts', import.meta.url).href,
      policyPath: world.policyPath,
      toolsPath: world.toolsPath,
      redis: world.redis.connectionOptions,
      proposalKey: world.keys.COUNTERSIGN_PROPOSAL_KEY,
      context: CONTEXT,
    });
    if (agent.stdout === null) throw new Error('the agent has no output');
    createInterface({ input: agent.stdout }).on('line', (line) => heard.push(JSON.parse(line)));
  });

  afterAll(async () => {
    await parts?.end('SIGKILL');
    await world?.stop();
  });

  const clockFile = (which: string) => join(world.directory, `${which}.clock`);
  const step = (which: Part, ahead: number) => writeFileSync(clockFile(which), String(ahead));

  const said = (entry: string) => heard.filter((line) => line.entry === entry);
  async function propose(entry: string): Promise<ProposalId> {
    agent.stdin?.write(`${entry}\n`);
    await expect.poll(() => said(entry).length, WAIT).toBeGreaterThan(0);
    const [first] = said(entry);
    if (first?.proposed === undefined) throw new Error(`${entry}: ${first?.error}`);
    return first.proposed;
  }
  const status = async (id: ProposalId) => (await world.store.read(id))?.state.status;

  /**
   * Whoever was told by Slack that it did not work clicks again. With its clock an hour ahead the service believes that
   * its sockets have been silent for an hour, and takes new ones; a click may fall in between.
   */
  async function decided(id: ProposalId, decision: 'approve' | 'deny'): Promise<void> {
    const card = await world.card(id);
    const round = async () => {
      if ((await status(id)) !== 'pending') return status(id);
      const clicked = await world.ana.click(card, ACTIONS[decision]);
      if (!clicked.ok || decision === 'approve') return status(id);
      const modal = await world.ana.waitForView(undefined, 3_000).catch(() => undefined);
      if (modal !== undefined) await world.ana.submit(modal, { cs_reason: 'no' });
      return status(id);
    };
    await expect.poll(round, WAIT).not.toBe('pending');
  }

  const steps = [
    ...PARTS.flatMap((which) => [[[which], HOUR] as const, [[which], -HOUR] as const]),
    [PARTS, HOUR] as const,
    [PARTS, -HOUR] as const,
  ];
  it.each(steps)('%s by %i ms: it is approved and runs, is denied, or waits as before', async (which, by) => {
    const name = `${which.join('+')} ${by > 0 ? 'ahead' : 'back'}`;
    const row = tally('a clock steps by an hour');
    const approve = await propose(`${name}: approve`);
    const deny = await propose(`${name}: deny`);
    left.push(await propose(`${name}: leave`));
    // In the middle: what was proposed by the old clock is decided and run by the new one.
    for (const one of which) step(one, by);
    row.injected(which.length);
    await sleep(100);

    await decided(approve, 'approve');
    await decided(deny, 'deny');
    await expect
      .poll(() => said(`${name}: approve`).at(-1), WAIT)
      .toMatchObject({
        result: { written: `${name}: approve` },
      });
    await expect.poll(() => said(`${name}: deny`).at(-1), WAIT).toMatchObject({ error: 'approval_denied' });
    // And what is proposed by the new clock.
    const after = await propose(`${name}: after`);
    const terms = JSON.parse((await world.store.read(after))?.termsText ?? '{}');
    expect(terms.deadline - terms.createdAt).toBe(EXPIRES_MS);
    expect(Math.abs(terms.createdAt - (await world.store.now()))).toBeLessThan(EXPIRES_MS);
    left.push(after);
    await world.card(after);

    // A clock that is wrong is no reason to send people elsewhere, nor that it is set right.
    await expectWell(...answering);
    for (const one of which) step(one, 0);
    row.injected(which.length);
    await expectWell(...answering);
    expect(await status(approve)).toBe('succeeded');
    expect(await status(deny)).toBe('denied');
  });

  it('who was taken out of the group may decide no longer, though the clock is set back', async () => {
    const row = tally('a clock steps by an hour');
    const before = await propose('while in the group');
    await decided(before, 'approve');
    const asked = performance.now();
    const group = findWorkspace(world.slack.world, 'T0ACME')?.groups.find(({ id }) => id === 'S0SUPPORT');
    if (group === undefined) throw new Error('no group');
    const members = group.users;
    group.users = members.filter((user) => user !== 'U0ANA');
    // For half a minute the members of a group are remembered; by the wall clock it would be ever the same moment.
    for (const back of [10_000, 20_000, 30_000]) {
      await sleep(Math.max(0, asked + back - performance.now()));
      step('approvals', -back);
      row.injected();
    }
    await sleep(5_000);
    const after = await propose('out of the group');
    const card = await world.card(after);
    await world.ana.click(card, ACTIONS.approve);
    const refused = async () =>
      (await world.audit.read({ proposal: after, limit: 100 })).map(({ detail }) => detail.refusal);
    await expect.poll(refused, WAIT).toContain('not_an_approver');
    row.lost((await status(after)) === 'pending' ? 0 : 1);
    expect(await status(after)).toBe('pending');
    group.users = members;
    step('approvals', 0);
    left.push(after);
  });

  it('what nobody decided expires by its deadline and not before', async () => {
    const row = tally('a clock steps by an hour');
    // Once more, so that also the clock by which they expire is wrong.
    for (const which of PARTS) step(which, HOUR);
    row.injected(PARTS.length);
    const early: ProposalId[] = [];
    for (const id of left) {
      const settled = await expect
        .poll(() => status(id), WAIT)
        .toBe('expired')
        .then(
          () => true,
          () => false,
        );
      row.stuck(settled ? 0 : 1);
      const record = await world.store.read(id);
      const { deadline } = JSON.parse(record?.termsText ?? '{}');
      if (record?.state.status !== 'expired' || record.state.expiredAt < deadline) early.push(id);
    }
    expect(early).toEqual([]);
    row.lost(early.length);
    await expect
      .poll(() => heard.filter(({ error }) => error === 'approval_expired').length, WAIT)
      .toBe(left.length);
  });

  it('each approved call ran once, and nothing else did', () => {
    const ledger = world.ledger();
    tally('a clock steps by an hour').doubled(ledger.length - new Set(ledger).size);
    const approved = steps.map(([which, by]) => `${which.join('+')} ${by > 0 ? 'ahead' : 'back'}: approve`);
    expect(ledger.toSorted()).toEqual([...approved, 'while in the group'].toSorted());
  });

  it('the sealer signs by Redis’s clock, and what it sealed verifies', async () => {
    await parts.end('SIGTERM');
    const key = auditPublicKeyOf(world.keys.COUNTERSIGN_AUDIT_PUBLIC_KEY);
    const report = verifyAudit(world.auditDirectory, { keys: new Map([[auditKeyId(key), key]]) });
    tally('a clock steps by an hour').audit(report.verdict === 'intact');
    expect(report).toMatchObject({ verdict: 'intact' });
    const times = checkpointTimes(world.auditDirectory);
    expect(times.length).toBeGreaterThan(2);
    const now = await world.store.now();
    for (const at of times) {
      expect(at).toBeGreaterThanOrEqual(began - 60_000);
      expect(at).toBeLessThanOrEqual(now);
    }
  });
});

function checkpointTimes(directory: string): number[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.checkpoints.jsonl'))
    .flatMap((path) => readFileSync(join(directory, path), 'utf8').trim().split('\n'))
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { checkpoint: { at: number } }).checkpoint.at);
}
