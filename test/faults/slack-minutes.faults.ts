import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verifyAudit } from '../../src/audit-files/verify.ts';
import { auditKeyId, auditPublicKeyOf } from '../../src/core/audit/checkpoint.ts';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import type { HealthReport } from '../../src/health.ts';
import { signed } from '../../src/sandbox/slack/http-delivery.ts';
import { ACTIONS } from '../../src/slack/card.ts';
import {
  CHANNEL,
  CONTEXT,
  type LedgerInstallation,
  startLedgerInstallation,
} from '../scenarios/ledger-installation.ts';
import { ledgerPolicy } from './ledger-policy.ts';
import { tally } from './tally.ts';

/** What Slack does for minutes, with real processes and real minutes: a whole one down, and a click six of them late. */

const MINUTE_MS = 60_000;
const LATE_MS = 6 * MINUTE_MS;
const POLICY = ledgerPolicy({ expiresIn: '1h', startWithin: '30m' });
const WAIT = { timeout: 120_000, interval: 200 };
const MODES = ['socket', 'http'] as const;
type Mode = (typeof MODES)[number];

const worlds = new Map<Mode, LedgerInstallation>();
const of = (mode: Mode): LedgerInstallation => {
  const world = worlds.get(mode);
  if (world === undefined) throw new Error(`nothing runs in ${mode} mode`);
  return world;
};
/** Sent off at the start, and on its way while everything else here happens. */
let late: { id: ProposalId; entry: string; sentAt: number };

beforeAll(async () => {
  for (const mode of MODES) {
    const world = await startLedgerInstallation(mode, POLICY);
    worlds.set(mode, world);
    world.letGo();
    if (mode === 'http') continue;
    await world.approvals.stop();
    appendFileSync(world.approvals.envPath, 'PORT=0\n');
    await world.approvals.start();
  }
  late = { ...(await propose('socket', 'late')), sentAt: performance.now() };
  const { slack, ana } = of('socket');
  const card = await of('socket').card(late.id);
  slack.faults.deliverLate(LATE_MS, 1);
  expect(await ana.click(card, ACTIONS.approve)).toMatchObject({ ok: false });
});
afterAll(async () => {
  for (const world of worlds.values()) await world.stop();
});

async function propose(mode: Mode, entry: string): Promise<{ id: ProposalId; entry: string }> {
  const { id } = await of(mode).guard.propose({ tool: 'ledger.write', args: { entry } }, CONTEXT);
  return { id, entry };
}
const status = async (mode: Mode, id: ProposalId) => (await of(mode).store.read(id))?.state.status;
const becomes = (mode: Mode, id: ProposalId, expected: string) =>
  expect.poll(() => status(mode, id), WAIT).toBe(expected);

async function approve(mode: Mode, id: ProposalId): Promise<void> {
  const card = await of(mode).card(id);
  const round = async () => {
    if ((await status(mode, id)) === 'pending') await of(mode).ana.click(card, ACTIONS.approve);
    return status(mode, id);
  };
  await expect.poll(round, { ...WAIT, interval: 500 }).not.toBe('pending');
}

async function said(mode: Mode, path: '/health' | '/ready'): Promise<Response> {
  return await fetch(`http://127.0.0.1:${of(mode).approvals.port}${path}`);
}
const health = async (mode: Mode) => (await (await said(mode, '/health')).json()) as HealthReport;

describe.each(MODES)('Slack is down for a whole minute, in %s mode', (mode) => {
  it('what was decided runs, what is proposed waits, and every card comes afterwards, once and in order', async () => {
    const { slack, ana, ledger } = of(mode);
    const row = tally('Slack: down for a whole minute');
    const before = await propose(mode, 'decided before');
    const shown = await propose(mode, 'shown before');
    const card = await of(mode).card(shown.id);
    await approve(mode, before.id);

    slack.faults.downFor(MINUTE_MS);
    row.injected();
    await becomes(mode, before.id, 'succeeded');
    expect(await ana.click(card, ACTIONS.approve)).toMatchObject({ ok: false });
    const unseen = [];
    for (let i = 0; i < 4; i += 1) unseen.push(await propose(mode, `unseen ${i}`));
    // Over Socket Mode no click can come; over HTTP Slack might still bring one, and only our own calls fail.
    const expected =
      mode === 'socket'
        ? { status: 'failing', slack: { ok: false } }
        : { status: 'warning', tenants: { ok: false, problems: { cannot_check: 1 } } };
    await expect.poll(() => health(mode), WAIT).toMatchObject(expected);
    expect((await said(mode, '/ready')).status).toBe(mode === 'socket' ? 503 : 200);
    // All of that is to happen while it is down.
    expect(slack.faults.active()).toMatchObject([{ kind: 'down' }]);

    await expect.poll(() => slack.faults.active(), WAIT).toEqual([]);
    await expect.poll(() => health(mode), WAIT).toMatchObject({ status: 'ok' });
    expect((await said(mode, '/ready')).status).toBe(200);
    const cards = [];
    for (const { id } of unseen) cards.push(await of(mode).card(id));
    expect(cards.map(({ ts }) => Number(ts))).toEqual(
      cards.map(({ ts }) => Number(ts)).toSorted((a, b) => a - b),
    );
    const messages = await ana.messages(CHANNEL);
    for (const { id } of unseen) {
      const ofIt = messages.filter(
        ({ blocks, threadTs }) => threadTs === undefined && JSON.stringify(blocks).includes(id),
      );
      expect(ofIt).toHaveLength(1);
    }
    const doneCard = async () => (await of(mode).card(before.id)).text;
    await expect.poll(doneCard, WAIT).toMatch(/^Done/);

    const waiting = [shown, ...unseen];
    for (const { id } of waiting) await approve(mode, id);
    for (const { id } of waiting) await becomes(mode, id, 'succeeded');
    const ran = ledger().filter((entry) => entry !== late.entry);
    row.doubled(ran.length - new Set(ran).size);
    expect(ran.toSorted()).toEqual([before, ...waiting].map(({ entry }) => entry).toSorted());
  });
});

describe('a click six minutes late', () => {
  const row = tally('Slack: a click six minutes late, real processes');

  it('over HTTP is refused by the age of its signature, and decides nothing', async () => {
    const { slack, ana, approvals } = of('http');
    const { id } = await propose('http', 'signed long ago');
    const card = await of('http').card(id);
    // Slack has signed it, and something on the way holds it back.
    slack.faults.downFor(500);
    await ana.click(card, ACTIONS.approve);
    await expect.poll(() => slack.faults.active(), WAIT).toEqual([]);
    const { payload } = slack.traffic.deliveries('block_actions').at(-1) ?? {};
    const body = new URLSearchParams({ payload: JSON.stringify(payload) }).toString();
    const secret = slack.world.app.signingSecret;
    const send = async (atMs: number) => {
      const response = await fetch(`http://127.0.0.1:${approvals.port}/slack/events`, {
        method: 'POST',
        body,
        headers: { 'content-type': 'application/x-www-form-urlencoded', ...signed(body, secret, atMs) },
      });
      return response.status;
    };
    row.injected();
    expect(await send(Date.now() - LATE_MS)).toBe(401);
    expect(await status('http', id)).toBe('pending');
    // The same one within Slack's five minutes counts.
    expect(await send(Date.now() - 4 * MINUTE_MS)).toBe(200);
    await becomes('http', id, 'succeeded');
  });

  it('over Socket Mode counts, once, where its call still waits', async () => {
    row.injected();
    expect(await status('socket', late.id)).toBe('pending');
    await sleep(Math.max(0, late.sentAt + LATE_MS - performance.now()));
    await becomes('socket', late.id, 'succeeded');
    const runs = of('socket')
      .ledger()
      .filter((entry) => entry === late.entry).length;
    row.doubled(runs - 1);
    expect(runs).toBe(1);
    const entries = await of('socket').audit.read({ proposal: late.id, limit: 100 });
    expect(entries.filter(({ kind }) => kind === 'decision.approve')).toHaveLength(1);
  });

  it.each(MODES)('and in %s mode the audit verifies', async (mode) => {
    const { approvals, keys, auditDirectory } = of(mode);
    await approvals.stop();
    const key = auditPublicKeyOf(keys.COUNTERSIGN_AUDIT_PUBLIC_KEY);
    const report = verifyAudit(auditDirectory, { keys: new Map([[auditKeyId(key), key]]) });
    row.audit(report.verdict === 'intact');
    tally('Slack: down for a whole minute').audit(report.verdict === 'intact');
    expect(report).toMatchObject({ verdict: 'intact' });
  });
});
