import { pino } from 'pino';
import { afterEach, beforeEach, expect } from 'vitest';
import { z } from 'zod';
import { listDigest, type ShownList, sealList } from '../../src/core/approval/shown-list.ts';
import type { CallContextInput } from '../../src/core/identity/call-context.ts';
import { PersonId } from '../../src/core/identity/ids.ts';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { type SealedTerms, unseal } from '../../src/core/proposal/seal.ts';
import { defineTool } from '../../src/core/tool/tool.ts';
import { createGuard, type OpenGuard } from '../../src/create-guard.ts';
import { CoolingDown, PendingLimit } from '../../src/guard/call-errors.ts';
import type { SeenMessage, SeenView } from '../../src/sandbox/slack/person-interface.ts';
import { ACTIONS } from '../../src/slack/card.ts';
import { LIST_ACTIONS } from '../../src/slack/list-actions.ts';
import { drawListed } from '../../src/slack/listed-call.ts';
import { SLACK_PACE } from '../../src/slack/pace.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { ANA, newTestKeys, signedDecision, type TermsOverrides, testKeys } from '../sealed-terms.ts';
import { seenIn, viewFor } from '../slack/card-views.ts';
import { CHANNEL, GLOBEX_CHANNEL, surfaceForTests } from '../slack/surface-for-tests.ts';
import { type AttackCase, attackRow } from './attack-row.ts';

/** An agent that asks too much, asks again after a no, or hides one bad call among many good ones. */

const POLICY = `
tools: { allow: [ticket.close] }
write_tools: { enabled: true }
approvals:
  required_for: [ticket.close]
  defaults: { approvers: ["usergroup:S0SUPPORT", "user:U0OMAR"], reason: { deny: optional } }
tenants:
  acme:
    slack: { team: T0ACME, channel: ${CHANNEL} }
    environments: [production, staging]
    limits: { fold_above: 3, pending_per_agent: 5, pending_per_tenant: 8 }
  globex:
    slack: { team: T0GLOBEX, channel: ${GLOBEX_CHANNEL} }
    environments: [production]
    limits: { cooldown: 1s }
switch: { operators: ["usergroup:S0ONCALL"], arming: { operators: ["user:U0LEAD"] } }
`;
const tools = [
  defineTool({
    name: 'ticket.close',
    description: 'Closes a ticket.',
    input: z.strictObject({ ticket: z.string(), copies: z.number().optional() }),
    execute: () => null,
  }),
];
const MOST = { agent: 5, tenant: 8 };

const redis = redisForTests();
const t = surfaceForTests('socket', redis, {
  policy: POLICY,
  tools,
  adjust: (parts) => ({
    ...parts,
    // The burst that Slack allows: three cards and the gathered one at once.
    pace: { ...SLACK_PACE, posts: { burst: 4, everyMs: 1_000 } },
  }),
});
let guard: OpenGuard;
let renewal: NodeJS.Timeout;
beforeEach(() => {
  guard = createGuard({
    policy: POLICY,
    tools,
    redis: redis.connectionOptions,
    proposalKey: testKeys.proposal,
    logger: pino({ level: 'silent' }),
  });
  renewal = setInterval(() => void t.writeSwitch.renewPermits().catch(() => {}), 500);
});
afterEach(async () => {
  clearInterval(renewal);
  await guard.close();
});

/* ---- through the guard ---- */

const CONTEXT: CallContextInput = {
  tenant: 'acme',
  environment: 'production',
  agent: 'support-bot',
  principal: 'slack:T0ACME/U0CHEN',
  run: 'run-1',
};
const GLOBEX: CallContextInput = { ...CONTEXT, tenant: 'globex', principal: 'slack:T0GLOBEX/U0NIA' };

interface Asked {
  readonly args?: unknown;
  readonly context?: Partial<CallContextInput>;
  readonly reason?: string;
  readonly idempotencyKey?: string;
}
const ask = ({ args = { ticket: 'T-1' }, context, ...extras }: Asked = {}) =>
  guard.propose({ tool: 'ticket.close', args, ...extras }, { ...CONTEXT, ...context });
const errorOf = (asked: Promise<unknown>): Promise<unknown> =>
  asked.then(
    () => undefined,
    (error: unknown) => error,
  );
const waiting = async (tenant: string) => redis.client.zcard(`{s0}:tenant:${tenant}:pending`);

/** Asks once, and Ana says no. */
async function denied(asked: Asked = {}): Promise<void> {
  const { id } = await ask(asked);
  const record = await t.store.read(id as ProposalId);
  const unsealed = record && unseal([testKeys.proposal], record.termsText, record.seal);
  if (!unsealed?.ok) throw new Error('the proposal is not sealed');
  expect(await t.store.decide(signedDecision(unsealed.sealed, 'deny', ANA))).toMatchObject({
    ok: true,
  });
}

/** The same call again, in other clothes: nobody is asked. */
function nags(title: string, again: Asked): AttackCase {
  return [
    `after a denial, the same call ${title}`,
    async () => {
      await denied({ args: { ticket: 'T-1', copies: 1 } });
      const error = await errorOf(ask({ args: { ticket: 'T-1', copies: 1 }, ...again }));
      expect(error).toBeInstanceOf(CoolingDown);
      expect(error).toMatchObject({ by: 'slack:T0ACME/U0ANA', retryable: false });
      expect(await waiting('acme')).toBe(0);
      const [entry] = (await t.entries('call.forbidden')).slice(-1);
      expect(entry).toMatchObject({ tenant: 'acme', detail: { reason: 'cooling_down' } });
    },
  ];
}

/** More than people can be asked: exactly as many as the policy says wait, whatever differs between them. */
function floods(title: string, most: number, asked: (i: number) => Asked): AttackCase {
  return [
    title,
    async () => {
      const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => errorOf(ask(asked(i)))));
      const refused = answers.filter((answer) => answer !== undefined);
      expect(refused).toHaveLength(20 - most);
      for (const error of refused) expect(error).toBeInstanceOf(PendingLimit);
      expect(await waiting('acme')).toBe(most);
      expect(await t.entries('proposal.created')).toHaveLength(most);
    },
  ];
}

/* ---- in Slack ---- */

const chen = () => t.person('U0CHEN');
async function flood(count: number, given: Partial<TermsOverrides> = {}): Promise<SealedTerms[]> {
  const all: SealedTerms[] = [];
  for (let i = 1; i <= count; i += 1) {
    all.push(await t.propose({ arguments: { ticket: `T-${i}` }, ...given }));
  }
  return all;
}
const digestCard = (saying: string) =>
  chen().waitForMessage(CHANNEL, ({ blocks }) => JSON.stringify(blocks[0]).includes(saying));
async function openList(on: SeenMessage): Promise<SeenView> {
  const ben = t.person('U0BEN');
  await ben.click(on, LIST_ACTIONS.open);
  return ben.waitForView(({ title }) => title === 'Waiting calls');
}
const idsOn = (view: SeenView) =>
  view.blocks.flatMap(({ block_id: id }) =>
    typeof id === 'string' && id.startsWith('cs_pick_') ? [id.slice('cs_pick_'.length) as ProposalId] : [],
  );
const picks = (view: SeenView, ids: readonly string[]) =>
  Object.fromEntries(
    ids.map((id) => {
      const block = view.blocks.find((candidate) => candidate.block_id === `cs_pick_${id}`);
      const [boxes] = (block as unknown as { elements: { options: unknown[] }[] }).elements;
      const [option] = boxes?.options ?? [];
      return [`cs_pick_${id}`, { cs_pick: { type: 'checkboxes', selected_options: [option] } }];
    }),
  );

interface Submission {
  user: { id: string };
  view: { id: string; hash: string; callback_id: string; private_metadata: string; state: unknown };
  [key: string]: unknown;
}

/** What our form would send for this list, had Ben been shown it. */
async function submit(metadata: string, change: (body: Submission) => void = () => {}): Promise<void> {
  const clicked = structuredClone(t.slack.traffic.deliveries('block_actions').at(-1)?.payload);
  const body = { ...(clicked as Submission), type: 'view_submission', actions: undefined };
  const state = { values: { cs_reason: { cs_reason_text: { value: 'no' } } } };
  body.view = { id: 'V0LIST', hash: 'x', callback_id: 'cs_batch', private_metadata: metadata, state };
  change(body);
  await t.slack.send({ type: 'interactive', team: 'T0ACME', payload: body, acceptsResponse: true });
}

function listOf(calls: readonly SealedTerms[], change: Partial<ShownList> = {}): ShownList {
  const [first] = calls;
  if (first === undefined) throw new Error('a list of nothing');
  return {
    v: 1,
    for: 'approve',
    tenant: first.terms.context.tenant,
    agent: first.terms.context.agent,
    person: PersonId.parse('slack:T0ACME/U0BEN'),
    ids: calls.map(({ terms }) => terms.id),
    shown: listDigest(calls.map((call) => drawListed(viewFor(call, undefined, [])).shown)),
    ...change,
  };
}

/** Five calls, of which two wait on the digest card; Ben has their list open. */
async function listOpen(): Promise<{ all: SealedTerms[]; folded: SealedTerms[] }> {
  const all = await flood(5);
  const list = await openList(await digestCard('2 more calls'));
  const ids = idsOn(list);
  const folded = ids.flatMap((id) => all.filter(({ terms }) => terms.id === id));
  expect(folded).toHaveLength(2);
  return { all, folded };
}

/** A list that was bent on its way through Slack: nothing on it is decided. */
function bent(
  title: string,
  bend: (given: { all: SealedTerms[]; folded: SealedTerms[] }) => string,
  change?: (body: Submission) => void,
): AttackCase {
  return [
    `one bad call among many: ${title}`,
    async () => {
      const given = await listOpen();
      await submit(bend(given), change);
      expect(await t.entries('decision.approve')).toEqual([]);
      for (const { terms } of given.all) expect(await t.status(terms.id)).toBe('pending');
    },
  ];
}
const sealed = (list: ShownList) => sealList(testKeys.approvalPrivate, list);

/** What is approved alone is not approved from a list that our own form signed. */
function alone(title: string, given: Partial<TermsOverrides>, refusal: string): AttackCase {
  return [
    `one bad call among many: ${title}`,
    async () => {
      await flood(3);
      const [bad] = await flood(1, given);
      const list = await openList(await digestCard('1 more call of'));
      expect(idsOn(list)).toEqual([bad?.terms.id]);
      await submit(sealed(listOf(bad ? [bad] : [])));
      await expect.poll(() => t.refusals()).toEqual([refusal]);
      expect(await t.entries('decision.approve')).toEqual([]);
    },
  ];
}

attackRow(13, {
  attacks: [
    floods('twenty calls of one agent at once', MOST.agent, (i) => ({ args: { ticket: `T-${i}` } })),
    floods('twenty identical calls at once', MOST.agent, () => ({})),
    floods('a run of its own for each call', MOST.agent, (i) => ({ context: { run: `run-${i}` } })),
    floods('an idempotency key of its own for each call', MOST.agent, (i) => ({ idempotencyKey: `k-${i}` })),
    floods('two environments in turn', MOST.agent, (i) => ({
      args: { ticket: `T-${i}` },
      context: { environment: i % 2 ? 'production' : 'staging' },
    })),
    floods('a principal of its own for each call', MOST.agent, (i) => ({
      context: { principal: `slack:T0ACME/U0P${i}` },
    })),
    floods('an agent of its own for each call', MOST.tenant, (i) => ({ context: { agent: `bot-${i}` } })),
    [
      'one idempotency key over and over: it is one proposal',
      async () => {
        const handles = await Promise.all(Array.from({ length: 20 }, () => ask({ idempotencyKey: 'once' })));
        expect(new Set(handles.map(({ id }) => id)).size).toBe(1);
        expect(await waiting('acme')).toBe(1);
      },
    ],

    nags('as it was', {}),
    nags('under another idempotency key', { idempotencyKey: 'another' }),
    nags('in another run', { context: { run: 'run-2' } }),
    nags('with more insistent words', { reason: 'URGENT: the customer is waiting, approve now' }),
    nags('with its arguments in another order', { args: { copies: 1, ticket: 'T-1' } }),
    nags('with its number written in another way', {
      args: { json: '{ "ticket": "T\\u002d1", "copies": 1.0e0 }' },
    }),
    nags('on behalf of somebody else', { context: { principal: 'slack:T0ACME/U0RITA' } }),
    [
      'after a denial, the same call twenty times at once',
      async () => {
        await denied();
        const answers = await Promise.all(Array.from({ length: 20 }, () => errorOf(ask())));
        for (const error of answers) expect(error).toBeInstanceOf(CoolingDown);
        expect(await waiting('acme')).toBe(0);
      },
    ],

    [
      'a flood in the channel: three cards, one gathered card, and no button there that approves',
      async () => {
        await flood(20);
        const card = await digestCard('17 more calls');
        expect(JSON.stringify(card.blocks)).not.toContain(ACTIONS.approve);
        expect(JSON.stringify(card.blocks)).not.toContain(LIST_ACTIONS.approveAll);
        const cards = (await chen().messages(CHANNEL)).filter(({ blocks }) =>
          seenIn(blocks).includes('Approval needed'),
        );
        expect(cards).toHaveLength(3);
      },
    ],
    [
      'a flood of one agent does not hide what another agent asks for',
      async () => {
        await flood(10);
        await digestCard('7 more calls');
        const [other] = await flood(1, { context: { agent: 'billing-bot' } });
        if (other) await t.cardSaying(other.terms.id, 'Approval needed');
      },
    ],
    [
      'one bad call among many: a letter that only looks the same stands on no card with the others',
      async () => {
        const good = [...(await flood(1, { arguments: { ticket: 'T-1' } })), ...(await flood(1))];
        const [bad] = await flood(1, { arguments: { ticket: 'Т-1' } });
        const card = await chen().waitForMessage(CHANNEL, ({ blocks }) =>
          seenIn(blocks).includes('2 identical calls wait on this card'),
        );
        for (const { terms } of good) expect(seenIn(card.blocks)).toContain(terms.id);
        expect(seenIn(card.blocks)).not.toContain(bad?.terms.id);
      },
    ],
    bent('an id put in for another one', ({ all, folded }) =>
      sealed(listOf(folded)).replace(folded[0]?.terms.id ?? '', all[0]?.terms.id ?? ''),
    ),
    bent('an id added', ({ all, folded }) =>
      sealed(listOf(folded)).replace('"ids":[', `"ids":["${all[0]?.terms.id}",`),
    ),
    bent('a list made for denying', ({ folded }) =>
      sealed(listOf(folded, { for: 'deny' })).replace('"for":"deny"', '"for":"approve"'),
    ),
    bent('a list made for picking', ({ folded }) => sealed(listOf(folded, { for: 'pick' }))),
    bent(
      'the list of somebody else',
      ({ folded }) => sealed(listOf(folded)),
      (body) => {
        body.user.id = 'U0ANA';
      },
    ),
    bent('a list under another key', ({ folded }) => sealList(newTestKeys().approvalPrivate, listOf(folded))),
    bent('a list with no signature', ({ folded }) => JSON.stringify({ list: listOf(folded), signature: '' })),
    bent('ids that were not those shown', ({ all, folded }) =>
      sealed(listOf(folded, { ids: all.slice(0, 2).map(({ terms }) => terms.id) })),
    ),
    bent('the same id twice', ({ folded }) =>
      sealed(listOf(folded, { ids: folded.map(() => folded[0]?.terms.id as ProposalId) })),
    ),
    alone('one that several people decide', { rule: { quorum: 2 } }, 'one_by_one'),
    alone(
      'one that needs a reason of its own',
      { rule: { reason: { approve: 'required', deny: 'optional' } } },
      'one_by_one',
    ),
    alone(
      'one too long to be shown whole there',
      { arguments: { ticket: `T-4 ${'x'.repeat(2_000)}` } },
      'not_shown_whole',
    ),
    [
      'one bad call among many: it comes after the list was drawn',
      async () => {
        const all = await flood(3, { arguments: { ticket: 'T-1' } });
        const card = await chen().waitForMessage(CHANNEL, ({ blocks }) =>
          seenIn(blocks).includes('3 identical calls wait on this card'),
        );
        const ana = t.person('U0ANA');
        await ana.click(card, LIST_ACTIONS.approveAll);
        const question = await ana.waitForView(({ title }) => title === 'Approve 3 calls');
        for (const { terms } of all) expect(seenIn(question.blocks)).toContain(terms.id);
        const [late] = await flood(1, { arguments: { ticket: 'T-1' } });
        await ana.submit(question);
        await ana.waitForView(({ blocks }) => seenIn(blocks).includes('You approved 3 calls'));
        if (late) expect(await t.status(late.terms.id)).toBe('pending');
      },
    ],
  ],
  twins: [
    [
      'as many calls as the policy lets wait',
      async () => {
        for (let i = 0; i < MOST.agent; i += 1) await ask({ args: { ticket: `T-${i}` } });
        expect(await waiting('acme')).toBe(MOST.agent);
      },
    ],
    [
      'the other tenant asks while this one is full',
      async () => {
        for (let i = 0; i < MOST.tenant; i += 1) await ask({ context: { agent: `bot-${i}` } });
        expect(await errorOf(ask())).toBeInstanceOf(PendingLimit);
        await ask({ context: GLOBEX });
        expect(await waiting('globex')).toBe(1);
      },
    ],
    [
      'after a denial, another ticket',
      async () => {
        await denied();
        await ask({ args: { ticket: 'T-2' } });
        expect(await waiting('acme')).toBe(1);
      },
    ],
    [
      'after a denial in production, the same in staging',
      async () => {
        await denied();
        await ask({ context: { environment: 'staging' } });
        expect(await waiting('acme')).toBe(1);
      },
    ],
    [
      'after the time that the policy sets, the same call',
      async () => {
        await denied({ context: GLOBEX });
        await expect
          .poll(() => errorOf(ask({ context: GLOBEX })), { timeout: 15_000, interval: 300 })
          .toBe(undefined);
        expect(await waiting('globex')).toBe(1);
      },
    ],
    [
      'the list as it was shown, handed in by whom it was shown to',
      async () => {
        const { all, folded } = await listOpen();
        await submit(sealed(listOf(folded)));
        for (const { terms } of folded) await expect.poll(() => t.status(terms.id)).toBe('approved');
        expect(await t.entries('decision.approve')).toHaveLength(2);
        const others = all.filter((call) => !folded.includes(call));
        for (const { terms } of others) expect(await t.status(terms.id)).toBe('pending');
      },
    ],
    [
      'picked by hand on the list: exactly those',
      async () => {
        await flood(6);
        const list = await openList(await digestCard('3 more calls'));
        const [first, second, third] = idsOn(list);
        const ben = t.person('U0BEN');
        const two = [first, second].flatMap((id) => id ?? []);
        await ben.click(list, LIST_ACTIONS.approve, { state: picks(list, two) });
        await ben.submit(await ben.waitForView(({ title }) => title === 'Approve 2 calls'));
        await ben.waitForView(({ blocks }) => seenIn(blocks).includes('You approved 2 calls'));
        for (const id of two) expect(await t.status(id)).toBe('approved');
        expect(await t.status(third as ProposalId)).toBe('pending');
      },
    ],
  ],
});
