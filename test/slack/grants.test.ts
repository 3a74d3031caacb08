import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { grantIdOf, grantIsGenuine, type SignedGrant } from '../../src/core/grant/grant.ts';
import { evaluate } from '../../src/core/policy/evaluate.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import type { JsonValue } from '../../src/core/tool/strict-json.ts';
import { defineTool, toolDigest } from '../../src/core/tool/tool.ts';
import { freezeArguments } from '../../src/core/tool/tool-call.ts';
import { ToolRegistry } from '../../src/core/tool/tool-registry.ts';
import type { SeenMessage } from '../../src/sandbox/slack/person-interface.ts';
import { grantNotice, REVOKE_NOTICES } from '../../src/slack/grant-notices.ts';
import { REFUSAL_NOTICES } from '../../src/slack/notices.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { sealedTerms, testContext, testKeys } from '../sealed-terms.ts';
import { seenIn } from './card-views.ts';
import {
  CHANNEL,
  loggedError,
  type Mode,
  policyOf,
  SLACK_FAILED,
  surfaceForTests,
} from './surface-for-tests.ts';

const redis = redisForTests();

const label = defineTool({
  name: 'ticket.label',
  description: 'Puts a label on a ticket.',
  input: z.strictObject({ ticket: z.string(), label: z.string(), secret: z.string().optional() }),
  redact: ['secret'],
  execute: () => ({}),
});

const POLICY = `
tools: { allow: [ticket.label] }
write_tools: { enabled: true }
approvals:
  defaults: { approvers: ["usergroup:S0SUPPORT", "user:U0LEAD"], reason: { deny: none } }
  rules:
    - tools: [ticket.label]
      grants: { max_uses: 20, for: 1h }
tenants:
  acme: { slack: { team: T0ACME, channel: ${CHANNEL} }, environments: [production, staging] }
  globex: { slack: { team: T0GLOBEX, channel: C0GLOBEX }, environments: [production] }
switch:
  operators: ["usergroup:S0ONCALL"]
  arming: { operators: ["user:U0LEAD"], quorum: 1 }
`;
const policy = policyOf(POLICY, [label]);

describe.each<Mode>(['socket', 'http'])('a standing grant in Slack, in %s mode', (mode) => {
  const t = surfaceForTests(mode, redis, {
    adjust: (parts) => ({ ...parts, policy, registry: new ToolRegistry([label]) }),
  });

  /** As the guard proposes it. */
  async function asked(args: JsonValue = { ticket: 'T-1', label: 'billing' }, basis?: SignedGrant) {
    const frozen = freezeArguments(label, args);
    if (!frozen.ok) throw new Error(frozen.issues.join());
    const context = testContext();
    const verdict = evaluate(policy.current, {
      context,
      tool: label,
      toolName: label.name,
      args: frozen.value,
    });
    if (verdict.verdict !== 'require_approval') throw new Error(verdict.verdict);
    const { epoch } = await t.writeSwitch.status();
    const sealed = sealedTerms({
      now: await t.store.now(),
      epoch,
      tool: label.name,
      toolDigest: toolDigest(label),
      arguments: args,
      rule: verdict.rule,
      policyVersion: policy.current.version,
      ...(basis === undefined ? {} : { granted: basis }),
    });
    const created = await t.store.create(sealed, { pendingPerAgent: 100, pendingPerTenant: 100 });
    expect(created.created).toBe('new');
    return sealed;
  }

  async function formOf(user: string, message: SeenMessage) {
    const person = t.person(user);
    expect(await person.click(message, 'cs_grant')).toEqual({ ok: true });
    return person.waitForView(({ title }) => title === 'Allow more like this');
  }

  const numbers = (uses: string, minutes: string) => ({
    cs_grant_uses_number: { type: 'number_input', value: uses },
    cs_grant_minutes_number: { type: 'number_input', value: minutes },
  });
  const freeing = (...places: number[]) => ({
    cs_grant_free_arguments: {
      type: 'checkboxes',
      selected_options: places.map((place) => ({
        text: { type: 'plain_text', text: `${['label', 'ticket'][place]} may differ`, emoji: false },
        value: String(place),
      })),
    },
  });

  async function given(user = 'U0ANA', free = [1]): Promise<{ sealed: SealedTerms; card: SeenMessage }> {
    const sealed = await asked();
    const message = await t.cardSaying(sealed.terms.id, 'Approval needed');
    const form = await formOf(user, message);
    const person = t.person(user);
    const shown = await person.submit(form, { ...numbers('3', '30'), ...freeing(...free) });
    if (!shown.ok || shown.view === null) throw new Error(JSON.stringify(shown));
    expect(shown.view.title).toBe('This is what you allow');
    expect(await t.status(sealed.terms.id)).toBe('pending');
    const done = await person.submit(shown.view);
    expect(done).toMatchObject({ ok: true, view: null });
    const card = await grantCard(sealed, 'Standing grant');
    return { sealed, card };
  }

  const grantCard = (sealed: SealedTerms, headline: string) =>
    t
      .person('U0CHEN')
      .waitForMessage(
        CHANNEL,
        ({ blocks, threadTs }) =>
          threadTs === undefined &&
          JSON.stringify(blocks).includes(grantIdOf(sealed.terms.id)) &&
          JSON.stringify(blocks[0]).includes(headline),
      );

  const stored = async (sealed: SealedTerms) => {
    const grant = await t.parts.grants.read(grantIdOf(sealed.terms.id));
    if (grant === undefined) throw new Error('no grant');
    return grant;
  };

  it('is given also where the answer cannot be told, and the log says why', async () => {
    t.slack.faults.unavailable(1, 'chat.postEphemeral');
    const { sealed } = await given();
    expect((await stored(sealed)).end).toBeUndefined();
    const why = await loggedError(t, 'a person could not be told what came of a click');
    expect(why).toMatchObject(SLACK_FAILED);
  });

  it('is given with an approval, after it was shown whole, and signed as shown', async () => {
    const { sealed, card } = await given();
    await expect.poll(() => t.status(sealed.terms.id)).toBe('approved');
    await t.told('U0ANA', '3 more calls of `ticket.label` within 30 minutes');
    const { signed } = await stored(sealed);
    expect(grantIsGenuine(testKeys.approvalPublic, signed)).toBe(true);
    expect(signed.statement).toMatchObject({
      person: 'slack:T0ACME/U0ANA',
      as: 'usergroup:S0SUPPORT',
      tenant: 'acme',
      environment: 'production',
      agent: 'support-bot',
      principal: 'slack:T0ACME/U0ASKER',
      maxUses: 3,
      pattern: [
        { name: 'label', may: 'be', value: '"billing"' },
        { name: 'ticket', may: 'be_anything' },
      ],
    });
    expect(signed.statement.expires - signed.statement.at).toBe(30 * 60_000);
    expect(seenIn(card.blocks)).toContain('0 of 3 calls used, 3 left');
    expect(seenIn(card.blocks)).toContain('"billing"');
    await expect.poll(() => t.entries('grant.made')).toHaveLength(1);
  });

  it('[display:nothing-hidden] has nothing free unless it is ticked, and shows what it allows before it is given', async () => {
    const sealed = await asked();
    const form = await formOf('U0ANA', await t.cardSaying(sealed.terms.id, 'Approval needed'));
    expect(seenIn(form.blocks)).toContain('"billing"');
    const shown = await t.person('U0ANA').submit(form, numbers('2', '10'));
    if (!shown.ok || shown.view === null) throw new Error('no view');
    const text = seenIn(shown.view.blocks);
    expect(text).toContain('At most 2 more calls');
    expect(text).toContain('10 minutes');
    expect(text).toContain('"T-1"');
    expect(text).not.toContain('ANYTHING');
    await t.person('U0ANA').submit(shown.view);
    await grantCard(sealed, 'Standing grant');
    const { signed } = await stored(sealed);
    expect(signed.statement.pattern.every(({ may }) => may === 'be')).toBe(true);
  });

  it('takes no more uses and no more time than the policy allows', async () => {
    const sealed = await asked();
    const form = await formOf('U0ANA', await t.cardSaying(sealed.terms.id, 'Approval needed'));
    const person = t.person('U0ANA');
    const beyond = await person.submit(form, numbers('21', '61'));
    if (!beyond.ok) throw new Error('not answered');
    expect(Object.keys(beyond.errors)).toEqual(['cs_grant_uses', 'cs_grant_minutes']);
    // What a client sends that does not hold the bounds of its own inputs.
    const within = await person.submit(form, numbers('20', '60'));
    expect(within).toMatchObject({ ok: true, errors: {}, view: { title: 'This is what you allow' } });
    expect(await t.status(sealed.terms.id)).toBe('pending');
  });

  it('is given by nobody who may not approve the call', async () => {
    const sealed = await asked();
    const message = await t.cardSaying(sealed.terms.id, 'Approval needed');
    await t.person('U0CHEN').click(message, 'cs_grant');
    await t.told('U0CHEN', REFUSAL_NOTICES.not_an_approver);
    expect(await t.entries('grant.made')).toHaveLength(0);
    expect(await t.status(sealed.terms.id)).toBe('pending');
  });

  it('[approval:bound-to-everything] is not given as anything else than what the last form showed', async () => {
    const sealed = await asked();
    const ana = t.person('U0ANA');
    const form = await formOf('U0ANA', await t.cardSaying(sealed.terms.id, 'Approval needed'));
    const shown = await ana.submit(form, numbers('2', '10'));
    if (!shown.ok || shown.view === null) throw new Error('no view');
    // The last page comes back from Slack with more in it than it was sent with.
    const { team, payload } = t.slack.traffic.deliveries('view_submission').at(-1) ?? {};
    const forged = structuredClone(payload) as {
      view: { callback_id: string; private_metadata: string; state: { values: object } };
    };
    const { state } = forged.view;
    state.values = {};
    forged.view.callback_id = 'cs_grant_confirm';
    forged.view.private_metadata = JSON.stringify({
      ...JSON.parse(forged.view.private_metadata),
      wish: { uses: 20, lifeMs: 3_600_000, free: [0, 1], shown: 'a'.repeat(64) },
    });
    await t.slack.send({ type: 'interactive', team: team ?? '', payload: forged, acceptsResponse: true });
    await ana.submit(shown.view);
    await grantCard(sealed, 'Standing grant');
    await expect.poll(async () => (await stored(sealed)).signed.statement).toMatchObject({ maxUses: 2 });
    await expect.poll(() => t.entries('grant.made')).toHaveLength(1);
  });

  it('[decision:one-winner] is not given where somebody denied the call meanwhile', async () => {
    const sealed = await asked();
    const message = await t.cardSaying(sealed.terms.id, 'Approval needed');
    const form = await formOf('U0ANA', message);
    const shown = await t.person('U0ANA').submit(form, numbers('2', '10'));
    if (!shown.ok || shown.view === null) throw new Error('no view');
    await t.person('U0BEN').click(message, 'cs_deny');
    await t.cardSaying(sealed.terms.id, 'Denied');
    const late = await t.person('U0ANA').submit(shown.view);
    expect(seenIn(late.ok ? late.view?.blocks : [])).toBe(grantNotice('already_settled'));
    expect(await t.parts.grants.read(grantIdOf(sealed.terms.id))).toBeUndefined();
  });

  it('is made once where Slack delivers the same form twice', async () => {
    const sealed = await asked();
    const form = await formOf('U0ANA', await t.cardSaying(sealed.terms.id, 'Approval needed'));
    const shown = await t.person('U0ANA').submit(form, numbers('2', '10'));
    if (!shown.ok || shown.view === null) throw new Error('no view');
    t.slack.faults.deliverTwice();
    await t.person('U0ANA').submit(shown.view);
    await grantCard(sealed, 'Standing grant');
    await expect.poll(() => t.entries('grant.made')).toHaveLength(1);
    await expect.poll(() => t.entries('decision.approve')).toHaveLength(1);
  });

  it('[display:nothing-hidden] is not offered where an argument is kept from view', async () => {
    const sealed = await asked({ ticket: 'T-1', label: 'billing', secret: 'hunter2' });
    const message = await t.cardSaying(sealed.terms.id, 'Approval needed');
    await t.person('U0ANA').click(message, 'cs_grant');
    await t.told('U0ANA', 'cannot be shown whole in one form');
    expect(await t.status(sealed.terms.id)).toBe('pending');
  });

  it('has one card, and a line in its thread for each use', async () => {
    const { sealed } = await given();
    const { signed } = await stored(sealed);
    const used = await asked({ ticket: 'T-2', label: 'billing' }, signed);
    await expect.poll(() => t.status(used.terms.id)).toBe('approved');
    const card = await t
      .person('U0CHEN')
      .waitForMessage(CHANNEL, ({ blocks }) => seenIn(blocks).includes('1 of 3 calls used, 2 left'));
    const line = await t
      .person('U0CHEN')
      .waitForMessage(CHANNEL, ({ threadTs, text }) => threadTs === card.ts && text.includes('Use 1 of 3'));
    expect(seenIn(line.blocks)).toContain('"T-2"');
    const messages = await t.person('U0CHEN').messages(CHANNEL);
    expect(
      messages.filter(
        ({ threadTs, blocks }) => threadTs === undefined && JSON.stringify(blocks).includes(used.terms.id),
      ),
    ).toHaveLength(0);
  });

  it('is revoked from its card by another approver, and the card says by whom', async () => {
    const { sealed, card } = await given();
    await t.person('U0BEN').click(card, 'cs_grant_revoke');
    await t.told('U0BEN', REVOKE_NOTICES.revoked);
    const ended = await grantCard(sealed, 'Grant revoked');
    expect(seenIn(ended.blocks)).toContain('Revoked by <@U0BEN>');
    expect(JSON.stringify(ended.blocks)).not.toContain('"actions"');
    const entry = await t.entry('grant.revoked');
    expect(entry.detail).toMatchObject({ by: 'slack:T0ACME/U0BEN', grant: grantIdOf(sealed.terms.id) });
  });

  it('is listed in full, and revoked from the list by an operator', async () => {
    const { sealed } = await given();
    await t.person('U0CHEN').command('/agent-writes grants', CHANNEL);
    const list = await t.told('U0CHEN', '1 open grant');
    const text = seenIn(list.blocks);
    expect(text).toContain('ticket.label');
    expect(text).toContain('"billing"');
    expect(text).toContain('(anything)');
    expect(text).toContain('<@U0ANA>');
    expect(text).toContain('0 of 3 calls used, 3 left');
    await t.person('U0CHEN').click(list, 'cs_grant_revoke');
    await t.told('U0CHEN', REVOKE_NOTICES.revoked);
    await expect
      .poll(async () => (await stored(sealed)).end)
      .toMatchObject({ state: 'revoked', by: 'slack:T0ACME/U0CHEN' });
    await t.person('U0CHEN').command('/agent-writes grants', CHANNEL);
    await t.told('U0CHEN', 'No grant is open here');
  });

  it('[decision:identity-from-the-signed-body] is revoked by nobody else, and by nobody of another workspace', async () => {
    const { sealed, card } = await given();
    await t.person('U0BEN').click(card, 'cs_grant_revoke');
    await t.told('U0BEN', REVOKE_NOTICES.revoked);
    const second = await given();
    await t.resend(({ user, actions }) => {
      user.team_id = 'T0GLOBEX';
      for (const action of actions) {
        action.action_id = 'cs_grant_revoke';
        action.value = grantIdOf(second.sealed.terms.id);
      }
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect((await stored(second.sealed)).end).toBeUndefined();
    await expect.poll(async () => (await stored(sealed)).end).toBeDefined();
  });

  it('[switch:off-then-on-resurrects-nothing] ends for good with writes off, and the card says so', async () => {
    const { sealed } = await given();
    await t.writeSwitch.off({ scope: {}, by: 'cli:test' });
    const card = await grantCard(sealed, 'Grant ended');
    expect(seenIn(card.blocks)).toContain('Writes were switched off since it was given');
    await expect.poll(() => t.entries('grant.voided')).toHaveLength(1);
  });

  it('ends where its giver may not approve any more', async () => {
    const { sealed } = await given();
    const ana = t.slack.world.workspaces.flatMap(({ users }) => users).find(({ id }) => id === 'U0ANA');
    if (ana === undefined) throw new Error('no such user');
    ana.deleted = true;
    // Who starts looks at once.
    await t.replica();
    const card = await grantCard(sealed, 'Grant ended');
    expect(seenIn(card.blocks)).toContain('may not approve this any more');
    await expect
      .poll(async () => (await stored(sealed)).end)
      .toMatchObject({ state: 'voided', why: 'giver_not_entitled' });
  });

  it('[approval:signed-outside-redis] is not shown, and is ended with an alarm, where it is not signed by us', async () => {
    const { sealed } = await given();
    const { signed } = await stored(sealed);
    const forged = { ...signed, statement: { ...signed.statement, maxUses: 20 } };
    const key = `{s0}:grant:${grantIdOf(sealed.terms.id)}`;
    await redis.client.hset(key, 'grant', JSON.stringify(forged), 'revision', '9');
    await redis.client.zadd('{s0}:tenant:acme:grant-cards', '1', grantIdOf(sealed.terms.id));
    await expect.poll(async () => (await t.entries('alarm.raised')).length).toBeGreaterThan(0);
    await t.person('U0CHEN').command('/agent-writes grants', CHANNEL);
    await t.told('U0CHEN', 'No grant is open here');
  });
});
