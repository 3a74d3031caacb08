import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { grantIdOf } from '../../src/core/grant/grant.ts';
import { PersonId } from '../../src/core/identity/ids.ts';
import { evaluate } from '../../src/core/policy/evaluate.ts';
import { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { defineTool, toolDigest } from '../../src/core/tool/tool.ts';
import { openRedis, type RedisConnections } from '../../src/redis/connection.ts';
import { GrantStoreRedis } from '../../src/redis/grant-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import type { SeenView } from '../../src/sandbox/slack/person-interface.ts';
import { APPROVED_ALONE, REVOKE_NOTICES } from '../../src/slack/grant-notices.ts';
import { RedisProxy } from '../faults/redis-proxy.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { testContext, testKeys } from '../sealed-terms.ts';
import { seenIn } from './card-views.ts';
import { CHANNEL, loggedError, type SurfaceForTests, surfaceForTests } from './surface-for-tests.ts';

/** What happened in Redis, and nobody could say so: people hear that it may stand, and never that it does not. */

const redis = redisForTests();

const LABEL = defineTool({
  name: 'ticket.label',
  description: 'Puts a label on a ticket.',
  input: z.strictObject({ ticket: z.string() }),
  execute: () => ({}),
});
const TOOLS = [LABEL];
const POLICY = `
tools: { allow: [ticket.label] }
write_tools: { enabled: true }
approvals:
  defaults: { approvers: ["usergroup:S0SUPPORT"], reason: { deny: none } }
  rules:
    - tools: [ticket.label]
      grants: { max_uses: 20, for: 1h }
tenants:
  acme: { slack: { team: T0ACME, channel: ${CHANNEL} }, environments: [production] }
switch:
  operators: ["usergroup:S0ONCALL"]
  arming: { operators: ["user:U0LEAD"], quorum: 1 }
`;
const BEN = PersonId.parse('slack:T0ACME/U0BEN');
const MAY_BE_ON = '*writes may be on*';

/** Ana allows more of the same, up to the last page; what she is told once she has handed it in. */
async function handedIn(t: SurfaceForTests): Promise<{ sealed: SealedTerms; told: () => Promise<string> }> {
  const args = { ticket: 'T-1' };
  const verdict = evaluate(t.parts.policy.current, {
    context: testContext(),
    tool: LABEL,
    toolName: LABEL.name,
    args,
  });
  if (verdict.verdict !== 'require_approval') throw new Error(verdict.verdict);
  const { sealed, message } = await t.card({
    tool: LABEL.name,
    toolDigest: toolDigest(LABEL),
    arguments: args,
    rule: verdict.rule,
    policyVersion: t.parts.policy.current.version,
  });
  const ana = t.person('U0ANA');
  await ana.click(message, 'cs_grant');
  const form: SeenView = await ana.waitForView(({ title }) => title === 'Allow more like this');
  const shown = await ana.submit(form, {
    cs_grant_uses_number: { type: 'number_input', value: '3' },
    cs_grant_minutes_number: { type: 'number_input', value: '30' },
  });
  if (!shown.ok || shown.view === null) throw new Error(JSON.stringify(shown));
  const done = await ana.submit(shown.view);
  // In the form where it was fast enough for that.
  const told = async () =>
    done.ok && done.view !== null
      ? seenIn(done.view.blocks)
      : (await t.told('U0ANA', 'Your approval is recorded')).text;
  return { sealed, told };
}

describe('where no replica holds what was asked for', () => {
  const t = surfaceForTests('socket', redis, {
    policy: POLICY,
    tools: TOOLS,
    adjust: (parts) => ({
      ...parts,
      grants: new GrantStoreRedis({
        redis: redis.client,
        shards: 1,
        replicas: 1,
        keys: [testKeys.proposal],
      }),
      switch: new WriteSwitchRedis({ redis: redis.client, shards: 1, replicas: 1, startDeadlineMs: 5 }),
    }),
  });

  it('a grant may stand, is listed, and the log has the cause', async () => {
    const { sealed, told } = await handedIn(t);
    expect(await told()).toBe(APPROVED_ALONE.unsure);
    expect(await t.status(sealed.terms.id)).toBe('approved');
    expect(await t.parts.grants.read(grantIdOf(sealed.terms.id))).toMatchObject({ end: undefined });
    await t.person('U0CHEN').command('/agent-writes grants', CHANNEL);
    await t.told('U0CHEN', '1 open grant');
    expect(await loggedError(t, 'whether a grant stands is not known')).toMatchObject({
      type: 'NotHeldByReplicas',
    });
  });

  it('writes may be on', async () => {
    await t.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test' });
    await t.person('U0LEAD').command('/agent-writes on fixed', CHANNEL);
    const { text } = await t.told('U0LEAD', 'NOT CONFIRMED');
    expect(text).toContain(MAY_BE_ON);
    expect(text).toContain('`/agent-writes off`');
    expect((await t.writeSwitch.status()).state).toBe('on');
  });
});

describe('where the answer is lost on its way back', () => {
  let proxy: RedisProxy;
  let connections: RedisConnections;
  beforeAll(async () => {
    proxy = await RedisProxy.start(redis.connectionOptions.path);
    connections = openRedis({ connection: { path: proxy.path }, replicas: 0, name: 'unsure' });
  });
  afterAll(async () => {
    connections.close();
    await proxy.close();
  });
  const t = surfaceForTests('socket', redis, {
    policy: POLICY,
    tools: TOOLS,
    adjust: (parts) => ({
      ...parts,
      grants: new GrantStoreRedis({ redis: connections.redis, shards: 1, keys: [testKeys.proposal] }),
      switch: new WriteSwitchRedis({ redis: connections.redis, shards: 1, startDeadlineMs: 5 }),
    }),
  });

  it('a grant may stand or be revoked, and to revoke it again tells', async () => {
    const { sealed } = await handedIn(t);
    const card = await t
      .person('U0CHEN')
      .waitForMessage(CHANNEL, ({ blocks }) =>
        JSON.stringify(blocks).includes(`"${grantIdOf(sealed.terms.id)}"`),
      );
    // Redis knows the script by now, so that its first answer is that of the revocation.
    expect(await t.parts.grants.revoke(grantIdOf(ProposalId.parse(`prop_00${'0'.repeat(24)}`)), BEN)).toBe(
      'not_found',
    );
    const lost = proxy.cutAt('answered', (bytes) => bytes.includes('"state":"revoked"'));
    const ben = t.person('U0BEN');
    await ben.click(card, 'cs_grant_revoke');
    await lost;
    await t.told('U0BEN', REVOKE_NOTICES.unsure);
    expect(await loggedError(t, 'whether a grant is revoked is not known')).toMatchObject({
      type: 'StoreUnavailable',
      cause: { message: expect.any(String) },
    });
    await ben.click(card, 'cs_grant_revoke');
    await t.told('U0BEN', REVOKE_NOTICES.already_ended);
  });

  it('writes may be on', async () => {
    await t.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test' });
    const lost = proxy.cutAt('answered', (bytes) => bytes.includes('\r\nfixed\r\n'));
    await t.person('U0LEAD').command('/agent-writes on fixed', CHANNEL);
    await lost;
    expect((await t.told('U0LEAD', 'NOT CONFIRMED')).text).toContain(MAY_BE_ON);
    expect((await t.writeSwitch.status()).state).toBe('on');
  });
});
