import { pino } from 'pino';
import { afterEach, beforeEach, expect } from 'vitest';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { createGuard, type OpenGuard } from '../../src/create-guard.ts';
import { Halted, StillPending } from '../../src/guard/call-errors.ts';
import {
  type Channel,
  findChannel,
  findWorkspace,
  type Workspace,
} from '../../src/sandbox/slack/slack-world.ts';
import { ACTIONS } from '../../src/slack/card.ts';
import { REFUSAL_NOTICES } from '../../src/slack/notices.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { ANA, signedDecision, testKeys } from '../sealed-terms.ts';
import { seenIn } from '../slack/card-views.ts';
import { CHANNEL, surfaceForTests, TICKET_CLOSE } from '../slack/surface-for-tests.ts';
import { type AttackCase, attackRow } from './attack-row.ts';

/** What somebody does to the channel, or to the app in it, before a card is posted, at the click, and at a redraw. */

/** A good look at a channel counts for some seconds; so much later it does not. */
let later = 0;

const redis = redisForTests();
const t = surfaceForTests('socket', redis, {
  adjust: (parts) => ({ ...parts, monotonic: () => performance.now() + later }),
});
let guard: OpenGuard;
beforeEach(() => {
  guard = createGuard({
    policy: t.parts.policy,
    tools: [TICKET_CLOSE],
    redis: redis.connectionOptions,
    proposalKey: testKeys.proposal,
    logger: pino({ level: 'silent' }),
  });
});
afterEach(() => guard.close());

interface Place {
  readonly workspace: Workspace;
  readonly channel: Channel;
}
function place(): Place {
  const workspace = findWorkspace(t.slack.world, 'T0ACME');
  const channel = workspace && findChannel(workspace, CHANNEL);
  if (workspace === undefined || channel === undefined) throw new Error('the channel is not there');
  return { workspace, channel };
}

/** [what happened, how it is called, what its message tells an operator to do, how it is done] */
const TROUBLES = [
  [
    'is gone',
    'channel_not_found',
    /Check the id/,
    ({ workspace, channel }: Place) => {
      workspace.channels = workspace.channels.filter((other) => other !== channel);
    },
  ],
  [
    'is archived',
    'channel_archived',
    /unarchive it/,
    ({ channel }: Place) => {
      channel.isArchived = true;
    },
  ],
  [
    'is shared with another company',
    'channel_shared',
    /End the sharing/,
    ({ channel }: Place) => {
      channel.isExtShared = true;
    },
  ],
  [
    'is about to be shared with another company',
    'channel_shared',
    /End the sharing/,
    ({ channel }: Place) => {
      channel.isPendingExtShared = true;
    },
  ],
  [
    'is one that the bot was taken out of',
    'bot_not_in_channel',
    /invite/,
    ({ channel }: Place) => {
      channel.members = channel.members.filter((user) => user !== 'U0BOTACME');
    },
  ],
  [
    'has become private, without the bot',
    'channel_not_found',
    /invite/,
    ({ channel }: Place) => {
      channel.isPrivate = true;
      channel.members = channel.members.filter((user) => user !== 'U0BOTACME');
    },
  ],
  [
    'is another one now, under the old name',
    'channel_not_found',
    /Check the id/,
    ({ channel }: Place) => {
      channel.id = 'C0IMPOSTOR';
    },
  ],
] as const;

const CALL = { tool: 'ticket.close', args: { ticket: 'T-1' } };
const CONTEXT = {
  tenant: 'acme',
  environment: 'production',
  agent: 'support-bot',
  principal: 'slack:T0ACME/U0CHEN',
  run: 'run-1',
};

const alarms = async () =>
  (await t.entries('alarm.raised')).map(({ tenant, detail }) => [tenant, detail.alarm]);

/** Before the card: nobody is shown anything, the agent is told, and so are the operators. */
function beforePosting([what, code, remedy, trouble]: (typeof TROUBLES)[number]): AttackCase {
  return [
    `before the card is posted, the channel ${what}`,
    async () => {
      trouble(place());
      later += 60_000;
      const handle = await guard.propose(CALL, CONTEXT);
      const error = await handle.result({ timeout: 20_000 }).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(Halted);
      expect((error as Halted).message).toMatch(remedy);
      expect(t.slack.traffic.calls('chat.postMessage').filter(({ body }) => seesCall(body))).toEqual([]);
      await expect.poll(alarms).toContainEqual(['acme', code]);
      expect(t.surface.problems()).toMatchObject([{ tenant: 'acme', code }]);
      expect(await t.entries('proposal.approved')).toEqual([]);
    },
  ];
}
const seesCall = (body: unknown) => JSON.stringify(body).includes('ticket.close');

/** A card that Chen has clicked on already, who may not decide: his click is what is sent again with Ana's name. */
async function clickable(given: Parameters<typeof t.card>[0] = {}): Promise<SealedTerms> {
  const { sealed, message } = await t.card({ ...given });
  await t.person('U0CHEN').click(message, ACTIONS.approve);
  await expect.poll(() => t.refusals()).toEqual(['not_an_approver']);
  return sealed;
}
const anaClicks = (action: string = ACTIONS.approve) =>
  t.resend(({ user, actions }) => {
    user.id = 'U0ANA';
    for (const one of actions) one.action_id = action;
  });

async function expectUndecided({ terms }: SealedTerms): Promise<void> {
  expect(['pending', 'halted']).toContain(await t.status(terms.id));
  expect(await t.entries('decision.approve')).toEqual([]);
  expect(await t.entries('proposal.approved')).toEqual([]);
}

function atTheClick([what, code, , trouble]: (typeof TROUBLES)[number]): AttackCase {
  return [
    `between the card and the click, the channel ${what}`,
    async () => {
      const sealed = await clickable();
      trouble(place());
      await anaClicks();
      const refusal = code === 'channel_shared' ? 'shared_channel' : 'cannot_check';
      await expect.poll(() => t.refusals()).toEqual(['not_an_approver', refusal]);
      await expectUndecided(sealed);
    },
  ];
}

/** One of two has approved; the card cannot tell so any more, or not here. The second yes does not count either. */
function atTheRedraw([what, code, , trouble]: (typeof TROUBLES)[number]): AttackCase {
  return [
    `between two approvals, before the card is drawn again, the channel ${what}`,
    async () => {
      const sealed = await clickable({ rule: { approvers: ['user:U0ANA', 'user:U0BEN'], quorum: 2 } });
      trouble(place());
      const first = signedDecision(sealed, 'approve', ANA, { as: 'user:U0ANA' });
      expect(await t.store.decide(first)).toMatchObject({ ok: true, settled: false });
      await t.resend(({ user }) => {
        user.id = 'U0BEN';
      });
      await expect.poll(() => t.refusals()).toHaveLength(2);
      expect(await t.entries('decision.approve')).toHaveLength(1);
      expect(await t.entries('proposal.approved')).toEqual([]);
      // Where nobody can be shown it any more, it ends; in a shared channel it waits for the sharing to end.
      if (code !== 'channel_shared') {
        await expect.poll(() => t.status(sealed.terms.id)).toBe('halted');
        await expect.poll(alarms).toContainEqual(['acme', code]);
      }
    },
  ];
}

attackRow(25, {
  attacks: [
    ...TROUBLES.map(beforePosting),
    ...TROUBLES.map(atTheClick),
    ...TROUBLES.map(atTheRedraw),
    [
      'before the card is posted, the app is taken out of the workspace',
      async () => {
        const { workspace } = place();
        delete workspace.installation;
        const handle = await guard.propose(CALL, CONTEXT);
        const error = await handle.result({ timeout: 1_000 }).catch((thrown: unknown) => thrown);
        // Whether the token comes back is not known at once: it waits, or it is refused; it is never approved.
        expect(error instanceof Halted || error instanceof StillPending).toBe(true);
        expect(await t.entries('proposal.approved')).toEqual([]);
      },
    ],
    [
      'at the click, Slack does not tell what the channel is',
      async () => {
        const sealed = await clickable();
        t.slack.faults.unavailable(5, 'conversations.info');
        await anaClicks();
        await expect.poll(() => t.refusals()).toEqual(['not_an_approver', 'cannot_check']);
        await expectUndecided(sealed);
      },
    ],
    [
      'a form is open when the channel is shared: what is handed in does not count',
      async () => {
        const rule = {
          approvers: ['user:U0ANA'],
          reason: { approve: 'required' as const, deny: 'optional' as const },
        };
        const { sealed, message } = await t.card({ rule });
        const ana = t.person('U0ANA');
        await ana.click(message, ACTIONS.approve);
        const form = await ana.waitForView();
        place().channel.isExtShared = true;
        await ana.submit(form, { cs_reason: 'fine' });
        await expect.poll(() => t.refusals()).toEqual(['shared_channel']);
        await expectUndecided(sealed);
      },
    ],
    [
      'another company’s person clicks in the channel that was shared',
      async () => {
        const sealed = await clickable({ rule: { approvers: ['user:U0STRANGER'] } });
        place().channel.isExtShared = true;
        await t.resend(({ user }) => {
          Object.assign(user, { id: 'U0STRANGER', team_id: 'T0OTHER' });
        });
        await expect.poll(() => t.refusals()).toEqual(['not_an_approver', 'other_workspace']);
        await expectUndecided(sealed);
      },
    ],
  ],
  twins: [
    [
      'the channel has another name: the id is what counts',
      async () => {
        const { sealed, message } = await t.card();
        place().channel.name = 'approvals-of-acme';
        await t.person('U0ANA').click(message, ACTIONS.approve);
        await expect.poll(() => t.status(sealed.terms.id)).toBe('approved');
      },
    ],
    [
      'the channel has become private, with the bot in it',
      async () => {
        place().channel.isPrivate = true;
        const { sealed, message } = await t.card();
        await t.person('U0ANA').click(message, ACTIONS.approve);
        await expect.poll(() => t.status(sealed.terms.id)).toBe('approved');
      },
    ],
    [
      'the sharing has ended, and the same card is clicked again',
      async () => {
        const { sealed, message } = await t.card();
        place().channel.isExtShared = true;
        await t.person('U0ANA').click(message, ACTIONS.approve);
        await t.told('U0ANA', REFUSAL_NOTICES.shared_channel);
        place().channel.isExtShared = false;
        await t.person('U0ANA').click(message, ACTIONS.approve);
        await expect.poll(() => t.status(sealed.terms.id)).toBe('approved');
        expect(seenIn((await t.cardSaying(sealed.terms.id, 'Approved')).blocks)).toContain('<@U0ANA>');
      },
    ],
    [
      'another channel of the workspace is shared, and this one is not',
      async () => {
        const { workspace } = place();
        for (const other of workspace.channels) if (other.id !== CHANNEL) other.isExtShared = true;
        const { sealed, message } = await t.card();
        await t.person('U0ANA').click(message, ACTIONS.approve);
        await expect.poll(() => t.status(sealed.terms.id)).toBe('approved');
      },
    ],
  ],
});
