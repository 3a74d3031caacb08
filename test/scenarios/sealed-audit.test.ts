import { readFileSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { verifyAudit } from '../../src/audit-files/verify.ts';
import { auditKeyId, auditPublicKeyOf } from '../../src/core/audit/checkpoint.ts';
import { ACTIONS } from '../../src/slack/card.ts';
import { CONTEXT, type LedgerInstallation, startLedgerInstallation } from './ledger-installation.ts';

const WAIT_MS = 20_000;

let world: LedgerInstallation | undefined;
afterEach(async () => {
  await world?.stop();
  world = undefined;
});

it('[audit:tamper-evident] the approval service seals what happened and signs it when it stops, and goes on when it starts again', async () => {
  world = await startLedgerInstallation();
  const { auditDirectory, keys, audit, approvals } = world;
  world.letGo();
  const run = async (entry: string) => {
    const handle = await (world as LedgerInstallation).guard.propose(
      { tool: 'ledger.write', args: { entry } },
      CONTEXT,
    );
    await world?.ana.click(await (world as LedgerInstallation).card(handle.id), ACTIONS.approve);
    await expect(handle.result({ timeout: WAIT_MS })).resolves.toEqual({ written: entry });
    return handle.id;
  };
  const first = await run('one');
  await approvals.stop();
  await approvals.start();
  const second = await run('two');
  // The card's last redrawing may still come; what was there before is sealed when it has stopped.
  const before = await audit.read({ limit: 1_000 });
  await approvals.stop();

  const key = auditPublicKeyOf(keys.COUNTERSIGN_AUDIT_PUBLIC_KEY);
  const report = verifyAudit(auditDirectory, { keys: new Map([[auditKeyId(key), key]]) });
  expect(report).toMatchObject({ verdict: 'intact' });
  expect(report.chains.map(({ chain }) => chain)).toEqual(['_s0', 'acme']);
  expect(report.chains.reduce((sum, { entries }) => sum + entries, 0)).toBeGreaterThanOrEqual(before.length);
  for (const proposal of [first, second]) {
    const kinds = before.flatMap((entry) => (entry.proposal === proposal ? [entry.kind] : []));
    expect(kinds).toEqual(
      expect.arrayContaining([
        'proposal.created',
        'decision.approve',
        'proposal.approved',
        'admission.granted',
      ]),
    );
  }
  const log = readFileSync(approvals.logPath, 'utf8');
  expect(log).not.toContain('audit_files_behind');
  expect(log).not.toContain('audit_not_sealed');
}, 60_000);
