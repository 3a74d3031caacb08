import { expect } from 'vitest';
import type { DecisionRefusal } from '../../src/core/approval/refusal.ts';
import type { CallContextInput } from '../../src/core/identity/call-context.ts';
import { PersonId } from '../../src/core/identity/ids.ts';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import type { SlackUser } from '../../src/sandbox/slack/slack-world.ts';
import {
  ANA,
  approvalOf,
  attestationOf,
  BEN,
  CAT,
  MALLORY,
  POLICY_TEXT,
  policyOf,
  REQUESTER,
} from '../queue/sealed-call.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { type ClickPayload, surfaceForTests } from '../slack/surface-for-tests.ts';
import { type AttackCase, attackRow } from './attack-row.ts';
import { attackedParts } from './attacked-parts.ts';

const redis = redisForTests();
const t = surfaceForTests('socket', redis);
const parts = attackedParts(redisForTests({ emptied: 'once' }));
const SOON = { timeout: 15_000 };

type Given = Parameters<typeof t.card>[0];

function userOf(id: string): SlackUser {
  const found = t.slack.world.workspaces.flatMap(({ users }) => users).find((user) => user.id === id);
  if (found === undefined) throw new Error(`no ${id}`);
  return found;
}

const groupsOf = (team: string) => t.slack.world.workspaces.find((one) => one.team === team)?.groups ?? [];

const change = (user: string, fields: Partial<SlackUser>) => Object.assign(userOf(user), fields);

function leaveGroups(user: string): void {
  for (const group of groupsOf('T0ACME')) group.users = group.users.filter((id) => id !== user);
}

/** Everything that must be true of a click that did not count. */
async function nothingDecided(id: ProposalId, refusals: readonly string[]) {
  const of = async (kind: 'decision.refused' | 'decision.approve') =>
    (await t.audit.read({ proposal: id, limit: 100 })).filter((entry) => entry.kind === kind);
  const refused = async () => (await of('decision.refused')).map(({ detail }) => detail.refusal).sort();
  await expect.poll(refused, SOON).toEqual([...refusals].sort());
  expect(await t.status(id)).toBe('pending');
  expect((await t.store.read(id))?.state.approvals).toEqual([]);
  expect(await of('decision.approve')).toEqual([]);
}

/** A real person clicks in a real client. */
const clickers: [string, DecisionRefusal, string, Given, (() => void)?][] = [
  ['a guest whom the rule names', 'guest', 'U0GUEST', { rule: { approvers: ['user:U0GUEST'] } }],
  [
    'a member who was made a guest of one channel',
    'guest',
    'U0ANA',
    {},
    () => change('U0ANA', { isUltraRestricted: true }),
  ],
  ['a member whom the rule does not name', 'not_an_approver', 'U0CHEN', {}],
  [
    'a member of another group',
    'not_an_approver',
    'U0CHEN',
    { rule: { approvers: ['usergroup:S0SUPPORT'] } },
  ],
  ['somebody who was taken out of the group', 'not_an_approver', 'U0BEN', {}, () => leaveGroups('U0BEN')],
  [
    'an administrator whom the rule does not name',
    'not_an_approver',
    'U0LEAD',
    { rule: { approvers: ['user:U0ANA'] } },
  ],
  [
    'who will decide only once it is escalated',
    'not_an_approver',
    'U0CHEN',
    { rule: { escalate: { afterMs: 300_000, to: ['usergroup:S0ONCALL'] } } },
  ],
  ['who asked for it', 'own_call', 'U0ANA', { context: { principal: 'slack:T0ACME/U0ANA' } }],
  [
    'who asked for it, under the organisation’s id',
    'own_call',
    'U0ANA',
    { context: { principal: 'slack:E0GRID/U0ANA' } },
  ],
  [
    'the second account of who asked for it',
    'own_call_other_account',
    'U0BEN',
    { context: { principal: 'slack:T0ACME/U0ANA' } },
    () => change('U0BEN', { email: 'ana@acme.example' }),
  ],
  [
    'the second account of who asked for it, spelled otherwise',
    'own_call_other_account',
    'U0BEN',
    { context: { principal: 'slack:T0ACME/U0ANA' } },
    () => change('U0BEN', { email: ' ANA@Acme.Example ' }),
  ],
  [
    'an owner of the service that calls',
    'owner_of_the_service',
    'U0ANA',
    { context: { principal: 'service:nightly-triage' }, rule: { excluded: ['slack:T0ACME/U0ANA'] } },
  ],
  [
    'the second account of an owner of the service that calls',
    'own_call_other_account',
    'U0BEN',
    { context: { principal: 'service:nightly-triage' }, rule: { excluded: ['slack:T0ACME/U0ANA'] } },
    () => change('U0BEN', { email: 'ana@acme.example' }),
  ],
  [
    'an approver about whom Slack says nothing just now',
    'cannot_check',
    'U0ANA',
    {},
    () => t.slack.faults.unavailable(5, 'users.info'),
  ],
  [
    'an approver whose group Slack does not list just now',
    'cannot_check',
    'U0ANA',
    {},
    () => t.slack.faults.unavailable(5, 'usergroups.users.list'),
  ],
];
const ESCALATED: Given = { rule: { escalate: { afterMs: 1, to: ['usergroup:S0ONCALL'] } } };
const clicked: AttackCase[] = clickers.map(([title, refusal, user, given, before]) => [
  `[decision:identity-from-the-signed-body] ${title} clicks`,
  async () => {
    const { sealed, message } = await t.card(given);
    before?.();
    await t.person(user).click(message, 'cs_approve');
    await nothingDecided(sealed.terms.id, [refusal]);
  },
]);

/** Somebody else's name in the body of a click, as Slack would sign it of them. */
const NAMED = {
  rule: { approvers: ['user:U0STRANGER', 'user:U0GONE', 'user:U0WORKFLOW', 'user:U0OMAR', 'user:U0ANA'] },
};
const bodies: [string, DecisionRefusal | undefined, (body: ClickPayload) => void][] = [
  ['of somebody of another company, over Slack Connect', 'other_workspace', by('U0STRANGER', 'T0OTHER')],
  ['of somebody of another company, under the tenant’s own id', 'stranger', by('U0STRANGER', 'T0ACME')],
  ['of another tenant’s approver, from their own workspace', 'other_workspace', by('U0OMAR', 'T0GLOBEX')],
  ['of another tenant’s approver, under this tenant’s id', 'stranger', by('U0OMAR', 'T0ACME')],
  ['of a deactivated account', 'deactivated', by('U0GONE', 'T0ACME')],
  ['of a workflow', 'not_a_person', by('U0WORKFLOW', 'T0ACME')],
  ['of our own bot', 'not_a_person', by('U0BOTACME', 'T0ACME')],
  ['of an id that nobody has', 'stranger', by('U0NOBODY', 'T0ACME')],
  ['of an approver, in small letters', undefined, by('u0ana', 'T0ACME')],
  ['of an approver, with a space', undefined, by('U0ANA ', 'T0ACME')],
  ['of an approver and a path', undefined, by('U0ANA/U0BEN', 'T0ACME')],
  ['of nobody', undefined, by('', 'T0ACME')],
  ['of an approver whose id is a list', undefined, by(['U0ANA'] as never, 'T0ACME')],
];
function by(id: string, team: string) {
  return ({ user }: ClickPayload) => void Object.assign(user, { id, team_id: team });
}
const forged: AttackCase[] = bodies.map(([title, refusal, rewrite]) => [
  `[decision:identity-from-the-signed-body] a body ${title}`,
  async () => {
    const { sealed, message } = await t.card(NAMED);
    await t.person('U0CHEN').click(message, 'cs_approve');
    await nothingDecided(sealed.terms.id, ['not_an_approver']);
    t.logged.splice(0);
    await t.resend(rewrite);
    if (refusal === undefined) {
      await expect.poll(() => t.logged.join(''), SOON).toContain('did not have the form that Slack gives it');
    }
    await nothingDecided(sealed.terms.id, ['not_an_approver', ...(refusal === undefined ? [] : [refusal])]);
  },
]);

/** Approved under our own signature, by whom the executor must not believe. */
const OWNED = `${POLICY_TEXT}services:\n  service:nightly: { owners: ["user:U0ANA"] }\n`;
const voters: [string, PersonId, string | undefined, Partial<CallContextInput>?][] = [
  ['who asked for it', ANA, undefined, { principal: ANA }],
  ['of another workspace under the same user id', MALLORY, 'user:U0ANA'],
  ['of the other tenant', PersonId.parse('slack:T0GLOBEX/U0OMAR'), 'user:U0ANA'],
  ['whom no rule names', CAT, undefined],
  ['in the place of somebody else', BEN, 'user:U0ANA'],
  ['of a group that decides only once it is escalated', CAT, 'usergroup:S0ONCALL'],
  ['of a group that the rule does not name', CAT, 'usergroup:S0OTHER'],
  ['who owns the service that calls', ANA, undefined, { principal: 'service:nightly' }],
  ['who asked for it, in the name of their group', REQUESTER, 'usergroup:S0SUPPORT'],
];
const atTheStart: AttackCase[] = voters.map(([title, person, as, context = {}]) => [
  `[execution:the-executor-judges-again] a signed approval of somebody ${title}`,
  async () => {
    const policy = policyOf(OWNED);
    const sealed = await parts.propose({ args: parts.ticket(), context, policy });
    const at = await parts.store.now();
    const approval = approvalOf(sealed, person, { at, ...(as === undefined ? {} : { as }) });
    await parts.forgeApproved(sealed, [approval], attestationOf(sealed, [person], { at }));
    await parts.refused(sealed.terms.id, 'approver_not_entitled', parts.under(policy));
  },
]);

const CONTEXT = { tenant: 'acme', environment: 'production', agent: 'bot', run: 'run-1' };
const principals: AttackCase[] = [
  undefined,
  '',
  'U0ANA',
  'slack:T0ACME',
  'slack:t0acme/u0ana',
  'service:',
  'slack:T0ACME/U0ANA\n',
].map((principal) => [
  `[scope:identity-comes-from-the-context] a call on behalf of ${JSON.stringify(principal)}`,
  async () => {
    const waiting = () => parts.store.pending({ tenant: 'acme', limit: 1_000 });
    const before = await waiting();
    const context = { ...CONTEXT, principal } as CallContextInput;
    const proposing = parts.guard().propose({ tool: 'ticket.close', args: parts.ticket() }, context);
    await expect(proposing).rejects.toMatchObject({ code: 'permission_denied', reason: 'context_invalid' });
    expect(await waiting()).toEqual(before);
  },
]);

const later: AttackCase[] = (
  [
    ['deactivated', () => change('U0BEN', { deleted: true })],
    ['taken out of the group', () => leaveGroups('U0BEN')],
  ] as const
).map(([title, happens]) => [
  `[approval:bound-to-everything] who approved was ${title} before it started`,
  async () => {
    const { sealed, message } = await t.card({ rule: { approvers: ['usergroup:S0SUPPORT'] } });
    const { id } = sealed.terms;
    await t.person('U0BEN').click(message, 'cs_approve');
    await expect.poll(() => t.status(id), SOON).toBe('approved');
    happens();
    // As often as the test looks, and not every twenty seconds.
    await expect
      .poll(
        async () => {
          await redis.client.zadd('{s0}:attesting', 1, id);
          return t.status(id);
        },
        { timeout: 20_000, interval: 250 },
      )
      .toBe('halted');
    expect((await t.store.read(id))?.state).toMatchObject({
      cause: { refusal: 'approver_not_entitled', person: 'slack:T0ACME/U0BEN' },
    });
  },
]);

attackRow(6, {
  attacks: [...clicked, ...forged, ...atTheStart, ...principals, ...later],
  twins: [
    ...(
      [
        ['a member of the group that decides', 'U0ANA', {}],
        ['somebody whom the rule names', 'U0LEAD', {}],
        ['who is in the escalation’s group, once it is escalated', 'U0CHEN', ESCALATED],
        ['a colleague of who asked for it', 'U0BEN', { context: { principal: 'slack:T0ACME/U0ANA' } }],
        [
          'who has an address almost like that of who asked for it',
          'U0BEN',
          { context: { principal: 'slack:T0ACME/U0ANA' } },
          () => change('U0BEN', { email: 'ana+ben@acme.example' }),
        ],
        [
          'a member who is no owner of the service that calls',
          'U0BEN',
          { context: { principal: 'service:nightly-triage' }, rule: { excluded: ['slack:T0ACME/U0ANA'] } },
        ],
      ] as [string, string, Given, (() => void)?][]
    ).map(
      ([title, user, given, before]): AttackCase => [
        `${title} clicks, and it counts`,
        async () => {
          const { sealed, message } = await t.card(given);
          before?.();
          await t.person(user).click(message, 'cs_approve');
          await expect.poll(() => t.status(sealed.terms.id), SOON).toBe('approved');
        },
      ],
    ),
    [
      'a signed approval of somebody whom the rule names is believed at the start',
      async () => {
        const { terms } = await parts.approvedCall({ args: parts.ticket() });
        expect(await parts.attempt(terms.id)).toMatchObject({ status: 'succeeded' });
      },
    ],
  ],
});
