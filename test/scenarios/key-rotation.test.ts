import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { verifyAudit } from '../../src/audit-files/verify.ts';
import { auditKeyId, auditPublicKeyOf } from '../../src/core/audit/checkpoint.ts';
import type { GuardOptions, OpenGuard } from '../../src/create-guard.ts';
import { generateKeys } from '../../src/generate-keys.ts';
import type { ProposalHandle } from '../../src/guard/proposal-handle.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import type { RunningPart } from '../../src/service.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { CONTEXT, PartsInProcess } from './parts-in-process.ts';

const POLICY = `
tools: { allow: [note.write, vault.put] }
write_tools: { enabled: true }
approvals:
  defaults: { approvers: ["usergroup:S0SUPPORT"], expires_in: 20m }
  rules:
    - tools: [vault.put]
      quorum: 2
    - tools: [note.write]
      grants: { max_uses: 5, for: 1h }
tenants:
  acme: { slack: { team: T0ACME, channel: C0ACMEAPP }, environments: [production] }
switch: { operators: ["usergroup:S0ONCALL"], arming: { operators: ["user:U0LEAD"] } }
`;

const linesIn = (directory: string) =>
  readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.jsonl'))
    .map((name) => readFileSync(join(directory, name), 'utf8'))
    .join('');

/** The parts are stopped and started anew with other keys, and calls wait all the while. */
describe('a key is changed without stopping', () => {
  const redis = redisForTests();
  let parts: PartsInProcess;
  let approvals: RunningPart;
  let executor: RunningPart;
  let guard: OpenGuard;
  const next = generateKeys();

  beforeEach(async () => {
    parts = await PartsInProcess.open({
      redis: redis.connectionOptions.path,
      policy: POLICY,
      toolsPath: join(import.meta.dirname, '..', 'attacks', 'planted-tools.ts'),
    });
    await parts.armWrites();
    [approvals, executor, guard] = await Promise.all([parts.approvals(), parts.executor(), parts.guard()]);
  });
  afterEach(() => parts.close());

  type Variables = Parameters<PartsInProcess['approvals']>[0];
  const restartApprovals = async (variables: Variables) => {
    await approvals.stop();
    approvals = await parts.approvals(variables);
  };
  const restartExecutor = async (variables: Variables) => {
    await executor.stop();
    executor = await parts.executor(variables);
  };
  const restartGuard = async (changes: Partial<GuardOptions>) => {
    await guard.close();
    guard = await parts.guard(changes);
  };
  const note = (text: string) => ({ tool: 'note.write', args: { text, fate: 'done' } });
  const vault = { tool: 'vault.put', args: { name: 'n', password: 'p-1234' } };
  const approve = async ({ id }: ProposalHandle, user = 'U0ANA') => {
    const card = await parts.card(id);
    expect(await parts.person(user).click(card, 'cs_approve')).toEqual({ ok: true });
  };
  const ran = async ({ id }: ProposalHandle) => {
    const handle = await guard.attach(id, CONTEXT);
    expect(await handle.result({ timeout: 20_000 })).toMatchObject({ headers: expect.anything() });
  };
  const approvedIs = ({ id }: ProposalHandle, status: string) =>
    expect
      .poll(async () => (await parts.store(bothKeys()).read(id))?.state.status, { timeout: 20_000 })
      .toBe(status);
  const bothKeys = () => `${next.COUNTERSIGN_PROPOSAL_KEY},${parts.keys.COUNTERSIGN_PROPOSAL_KEY}`;
  const alarms = async ({ id }: ProposalHandle) => {
    const log = new AuditLogRedis({ redis: redis.client, shards: 1 });
    const entries = await log.read({ proposal: id, limit: 100 });
    return entries.filter(({ kind }) => kind === 'alarm.raised').map(({ detail }) => detail.refusal);
  };

  it('[proposal:frozen] the proposal key: what was sealed before is decided, run and read on; with the old key gone it is refused', async () => {
    const older = parts.keys.COUNTERSIGN_PROPOSAL_KEY;
    const newer = next.COUNTERSIGN_PROPOSAL_KEY;
    const before = await guard.propose(note('before'), CONTEXT);
    // First everybody learns to open what the new key will seal; then everybody seals with it, one part after the other.
    const first = { COUNTERSIGN_PROPOSAL_KEY: `${older},${newer}` };
    await restartExecutor(first);
    await restartApprovals(first);
    await restartGuard({ proposalKey: `${older},${newer}` });
    const during = await guard.propose(note('during'), CONTEXT);
    await restartGuard({ proposalKey: `${newer},${older}` });
    const after = await guard.propose(note('after'), CONTEXT);
    await approve(during);
    await approve(after);
    await ran(during);
    await ran(after);
    const second = { COUNTERSIGN_PROPOSAL_KEY: `${newer},${older}` };
    await restartApprovals(second);
    await restartExecutor(second);
    await approve(before);
    await ran(before);
    // Sealed by nobody but the new one, from its terms to its outcome.
    const last = await guard.propose(note('last'), CONTEXT);
    await approve(last);
    await ran(last);

    const left = await (await parts.guard()).propose(note('left behind'), CONTEXT);
    await executor.stop();
    await approve(left);
    await approvedIs(left, 'approved');
    await restartExecutor({ COUNTERSIGN_PROPOSAL_KEY: newer });
    await approvedIs(left, 'halted');
    expect(await alarms(left)).toEqual(['seal_broken']);
    // Nothing that was sealed with the new key misses the old one.
    await restartGuard({ proposalKey: newer });
    await ran(last);
    // What the old key sealed is nobody's: the terms of the one, the outcome of the other.
    await expect(guard.attach(before.id, CONTEXT)).rejects.toMatchObject({ code: 'permission_denied' });
    await expect(guard.attach(during.id, CONTEXT)).rejects.toMatchObject({ code: 'unavailable' });
  }, 120_000);

  it('[approval:signed-outside-redis] the approval key: approvals and grants of the old one count until it is taken away', async () => {
    const older = parts.keys.COUNTERSIGN_APPROVAL_PUBLIC_KEY;
    const both = { COUNTERSIGN_APPROVAL_PUBLIC_KEY: `${older},${next.COUNTERSIGN_APPROVAL_PUBLIC_KEY}` };
    const signing = { ...both, COUNTERSIGN_APPROVAL_PRIVATE_KEY: next.COUNTERSIGN_APPROVAL_PRIVATE_KEY };
    const granted = await guard.propose(note('granted'), CONTEXT);
    const ana = parts.person('U0ANA');
    await ana.click(await parts.card(granted.id), 'cs_grant');
    const form = await ana.waitForView(({ title }) => title === 'Allow more like this');
    const shown = await ana.submit(form, {
      cs_grant_uses_number: { type: 'number_input', value: '3' },
      cs_grant_minutes_number: { type: 'number_input', value: '30' },
    });
    if (!shown.ok || shown.view === null) throw new Error(JSON.stringify(shown));
    await ana.submit(shown.view);
    await ran(granted);

    const two = await guard.propose(vault, CONTEXT);
    await approve(two, 'U0ANA');
    await expect
      .poll(async () => (await parts.store().read(two.id))?.state.approvals.length, { timeout: 20_000 })
      .toBe(1);
    await executor.stop();
    const waiting = await guard.propose(note('waiting'), CONTEXT);
    await approve(waiting);
    await approvedIs(waiting, 'approved');
    // Everybody takes the new one for genuine; then it signs.
    await restartApprovals(both);
    await restartApprovals(signing);
    executor = await parts.executor(both);
    await ran(waiting);
    // One approval under each key.
    await approve(two, 'U0BEN');
    await ran(two);
    await ran(await guard.propose(note('granted'), CONTEXT));
    const after = await guard.propose(note('after'), CONTEXT);
    await approve(after);
    await ran(after);

    await executor.stop();
    const late = await guard.propose(note('granted'), CONTEXT);
    await restartExecutor({ COUNTERSIGN_APPROVAL_PUBLIC_KEY: next.COUNTERSIGN_APPROVAL_PUBLIC_KEY });
    await approvedIs(late, 'halted');
    expect(await alarms(late)).toEqual(['grant_forged']);
  }, 120_000);

  it('[audit:tamper-evident] the audit key: one history, vouched for by both keys in turn and by neither alone', async () => {
    const before = await guard.propose(note('before'), CONTEXT);
    const sealed = (id: string) =>
      expect.poll(() => linesIn(parts.auditDirectory).includes(id), { timeout: 20_000 }).toBe(true);
    await sealed(before.id);
    await restartApprovals({ COUNTERSIGN_AUDIT_PRIVATE_KEY: next.COUNTERSIGN_AUDIT_PRIVATE_KEY });
    const after = await guard.propose(note('after'), CONTEXT);
    await sealed(after.id);
    await approvals.stop();
    const older = auditPublicKeyOf(parts.keys.COUNTERSIGN_AUDIT_PUBLIC_KEY);
    const newer = auditPublicKeyOf(next.COUNTERSIGN_AUDIT_PUBLIC_KEY);
    const verdict = (...keys: (typeof older)[]) =>
      verifyAudit(parts.auditDirectory, { keys: new Map(keys.map((key) => [auditKeyId(key), key])) }).verdict;
    expect(verdict(older, newer)).toBe('intact');
    expect(verdict(older)).toBe('unverifiable');
    expect(verdict(newer)).toBe('unverifiable');
  }, 120_000);
});
