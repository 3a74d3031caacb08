import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { listDigest, sealList } from '../../src/core/approval/shown-list.ts';
import { PersonId } from '../../src/core/identity/ids.ts';
import { alikeDigest } from '../../src/core/proposal/folding.ts';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { defineTool } from '../../src/core/tool/tool.ts';
import { ToolRegistry } from '../../src/core/tool/tool-registry.ts';
import type { SeenMessage, SeenView } from '../../src/sandbox/slack/person-interface.ts';
import { LIST_ACTIONS } from '../../src/slack/list-actions.ts';
import { drawListed } from '../../src/slack/listed-call.ts';
import { REFUSAL_NOTICES } from '../../src/slack/notices.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { type TermsOverrides, testKeys } from '../sealed-terms.ts';
import { seenIn, viewFor } from './card-views.ts';
import { CHANNEL, surfaceForTests } from './surface-for-tests.ts';

const redis = redisForTests();

const POLICY = `
tools: { allow: [ticket.close] }
write_tools: { enabled: true }
approvals:
  required_for: [ticket.close]
  defaults: { approvers: ["usergroup:S0SUPPORT", "user:U0LEAD"] }
tenants:
  acme:
    slack: { team: T0ACME, channel: ${CHANNEL} }
    environments: [production, staging]
    limits: { fold_above: 3 }
switch:
  operators: ["usergroup:S0ONCALL"]
  arming: { operators: ["user:U0LEAD"], quorum: 1 }
`;

describe('a channel that is not drowned', () => {
  const t = surfaceForTests('socket', redis, { policy: POLICY });
  const chen = () => t.person('U0CHEN');
  const flood = async (count: number, given: Partial<TermsOverrides> = {}) => {
    const all: SealedTerms[] = [];
    for (let i = 1; i <= count; i += 1) {
      all.push(await t.propose({ arguments: { ticket: `T-${i}` }, ...given }));
    }
    return all;
  };
  const digest = (saying: string) =>
    chen().waitForMessage(CHANNEL, ({ blocks }) => JSON.stringify(blocks[0]).includes(saying));
  const cards = async () =>
    (await chen().messages(CHANNEL)).filter(({ blocks }) => seenIn(blocks).includes('Approval needed'));
  const openList = async (user: string, on: SeenMessage) => {
    const person = t.person(user);
    expect(await person.click(on, LIST_ACTIONS.open)).toEqual({ ok: true });
    return person.waitForView(({ title }) => title === 'Waiting calls');
  };
  const picks = (view: SeenView, ids: readonly string[]) =>
    Object.fromEntries(
      ids.map((id) => {
        const block = view.blocks.find((candidate) => candidate.block_id === `cs_pick_${id}`);
        const [boxes] = (block as unknown as { elements: { options: unknown[] }[] }).elements;
        const [option] = boxes?.options ?? [];
        return [`cs_pick_${id}`, { cs_pick: { type: 'checkboxes', selected_options: [option] } }];
      }),
    );
  const idsOn = (view: SeenView) =>
    view.blocks.flatMap(({ block_id: id }) =>
      typeof id === 'string' && id.startsWith('cs_pick_') ? [id.slice('cs_pick_'.length) as ProposalId] : [],
    );
  const statuses = async (ids: readonly ProposalId[]) => Promise.all(ids.map((id) => t.status(id)));
  /** What whoever pressed a button last would submit, had they been shown `metadata`. */
  const submitByHand = async (metadata: string, change: (body: Submission) => void = () => {}) => {
    const clicked = structuredClone(t.slack.traffic.deliveries('block_actions').at(-1)?.payload);
    const body = { ...(clicked as Submission), type: 'view_submission', actions: undefined };
    const state = { values: { cs_reason: { cs_reason_text: { value: 'no' } } } };
    body.view = { ...body.view, callback_id: 'cs_batch', private_metadata: metadata, state };
    change(body);
    await t.slack.send({ type: 'interactive', team: 'T0ACME', payload: body, acceptsResponse: true });
  };

  it('shows a few cards and one digest card for 44 calls, and batch decisions count one by one', async () => {
    const all = await flood(44);
    const card = await digest('41 more calls');
    expect(seenIn(card.blocks)).toContain('ticket.close`: 41');
    await expect.poll(cards).toHaveLength(3);
    expect(
      (await chen().messages(CHANNEL)).filter(({ blocks }) => seenIn(blocks).includes('more calls')),
    ).toHaveLength(1);

    const list = await openList('U0BEN', card);
    expect(seenIn(list.blocks)).toContain('Page 1 of 5');
    const first = idsOn(list);
    expect(first).toHaveLength(10);
    const ben = t.person('U0BEN');
    await ben.click(list, LIST_ACTIONS.deny, { state: picks(list, first) });
    const question = await ben.waitForView(({ title }) => title === 'Deny 10 calls');
    for (const id of first) expect(seenIn(question.blocks)).toContain(id);
    await ben.submit(question, { cs_reason: 'not duplicates' });
    const done = await ben.waitForView(({ title }) => title === 'What came of it');
    expect(seenIn(done.blocks)).toContain('You denied 10 calls');
    await expect.poll(() => statuses(first)).toEqual(Array.from({ length: 10 }, () => 'denied'));
    await expect.poll(() => t.entries('decision.deny')).toHaveLength(10);

    await ben.closeView(done, true);
    const shorter = await digest('31 more calls');
    expect(seenIn(shorter.blocks)).toContain('10 denied');
    const again = await openList('U0BEN', shorter);
    const three = idsOn(again).slice(0, 3);
    await ben.click(again, LIST_ACTIONS.approve, { state: picks(again, three) });
    const asked = await ben.waitForView(({ title }) => title === 'Approve 3 calls');
    await ben.submit(asked);
    await ben.waitForView(({ blocks }) => seenIn(blocks).includes('You approved 3 calls'));
    await expect.poll(() => statuses(three)).toEqual(['approved', 'approved', 'approved']);
    for (const id of three) await t.cardSaying(id, 'Approved');
    const rest = all.map(({ terms }) => terms.id).filter((id) => ![...first, ...three].includes(id));
    expect(new Set(await statuses(rest))).toEqual(new Set(['pending']));

    await t.writeSwitch.off({
      scope: EVERYTHING,
      by: PersonId.parse('slack:T0ACME/U0CHEN'),
      why: 'it closes everything',
    });
    const halted = await digest('Halted: 28 calls');
    expect(seenIn(halted.blocks)).toContain('switched off by <@U0CHEN>');
    expect(JSON.stringify(halted.blocks)).not.toContain('"actions"');
    expect(halted.ts).toBe(card.ts);
  }, 60_000);

  it('gives the folded calls cards of their own once few are left', async () => {
    const all = await flood(5);
    const card = await digest('2 more calls');
    expect(seenIn(card.blocks)).toContain('2');
    for (const { terms } of all.slice(0, 2)) {
      await t.store.withdraw(terms.id, { agent: terms.context.agent, principal: terms.context.principal });
    }
    for (const { terms } of all.slice(2)) await t.cardSaying(terms.id, 'Approval needed');
    await digest('No more calls of support-bot wait here');
  });

  it('begins a new digest card with a new flood', async () => {
    const all = await flood(4);
    const first = await digest('1 more call of');
    for (const { terms } of all) {
      await t.store.withdraw(terms.id, { agent: terms.context.agent, principal: terms.context.principal });
    }
    await digest('No more calls');
    await flood(4, {});
    const second = await digest('1 more call of');
    expect(second.ts).not.toBe(first.ts);
  });

  it('decides nothing about a call that was not shown: an id put into the picks refuses all of them', async () => {
    const all = await flood(5);
    const list = await openList('U0BEN', await digest('2 more calls'));
    const [own] = all;
    const ben = t.person('U0BEN');
    await ben.click(list, LIST_ACTIONS.deny, { state: picks(list, idsOn(list)) });
    await ben.waitForView(({ title }) => title === 'Deny 2 calls');
    await t.resend((payload) => {
      const view = payload.view as { state: { values: Record<string, unknown> } };
      const foreign = own?.terms.id ?? '';
      view.state.values[`cs_pick_${foreign}`] = {
        cs_pick: { type: 'checkboxes', selected_options: [{ value: foreign }] },
      };
    });
    await expect.poll(() => t.refusals()).toContain('not_on_the_list');
    expect(await t.entries('decision.deny')).toHaveLength(0);
  });

  it('decides nothing with a list that was changed, that is another one’s, or that was made for picking', async () => {
    const all = await flood(5);
    const list = await openList('U0BEN', await digest('2 more calls'));
    const ben = t.person('U0BEN');
    await ben.click(list, LIST_ACTIONS.deny, { state: picks(list, idsOn(list)) });
    const question = await ben.waitForView(({ title }) => title === 'Deny 2 calls');
    const sealed = metadataOf(t.slack.traffic.calls('views.push').at(-1)?.body);
    const submit = (change: (body: Submission) => void) => submitByHand(sealed, change);
    await submit(({ view }) => {
      view.private_metadata = view.private_metadata.replace(idsOn(list)[0] ?? '', all[0]?.terms.id ?? '');
    });
    await submit(({ user }) => {
      user.id = 'U0ANA';
    });
    await submit(({ view }) => {
      view.private_metadata = view.private_metadata.replace('"for":"deny"', '"for":"approve"');
    });
    expect(await t.entries('decision.approve')).toHaveLength(0);
    await submit(({ view }) => {
      view.private_metadata = metadataOf(t.slack.traffic.calls('views.open').at(-1)?.body);
    });
    expect(await t.entries('decision.deny')).toHaveLength(0);
    await submit(() => {});
    await expect.poll(() => t.entries('decision.deny')).toHaveLength(2);
    expect(question.blocks.length).toBeGreaterThan(0);
  });

  it('re-checks each call of a batch: who may not decide it, and what was settled meanwhile, does not count', async () => {
    const all = await flood(5);
    const list = await openList('U0BEN', await digest('2 more calls'));
    const [one, other] = idsOn(list) as [ProposalId, ProposalId];
    const ben = t.person('U0BEN');
    await ben.click(list, LIST_ACTIONS.approve, { state: picks(list, [one, other]) });
    const asked = await ben.waitForView(({ title }) => title === 'Approve 2 calls');
    const { context } = all[0]?.terms ?? {};
    if (context === undefined) throw new Error('no context');
    await t.store.withdraw(one, { agent: context.agent, principal: context.principal });
    await ben.submit(asked);
    const done = await ben.waitForView(({ title }) => title === 'What came of it');
    expect(seenIn(done.blocks)).toContain('You approved 1 call;');
    expect(seenIn(done.blocks)).toContain(`${one}: ${REFUSAL_NOTICES.already_settled}`);
    await expect.poll(() => t.status(other)).toBe('approved');
  });

  it('lets nobody who is not an approver decide from the list, and says so before anything is confirmed', async () => {
    await flood(5);
    const list = await openList('U0CHEN', await digest('2 more calls'));
    await chen().click(list, LIST_ACTIONS.approve, { state: picks(list, idsOn(list)) });
    const refused = await chen().waitForView(({ title }) => title === 'What came of it');
    expect(seenIn(refused.blocks)).toContain(REFUSAL_NOTICES.not_an_approver);
    expect(refused.submit).toBeUndefined();
  });

  it('says so where nothing is picked, and turns pages without keeping what was picked', async () => {
    await flood(14);
    const card = await digest('11 more calls');
    const list = await openList('U0BEN', card);
    const ben = t.person('U0BEN');
    await ben.click(list, LIST_ACTIONS.approve);
    const nothing = await ben.waitForView(({ title }) => title === 'Not decided');
    expect(seenIn(nothing.blocks)).toContain('Nothing is picked');
    await ben.closeView(nothing);
    await ben.click(list, LIST_ACTIONS.next, { state: picks(list, idsOn(list)) });
    const last = await ben.waitForView(({ blocks }) => seenIn(blocks).includes('Page 2 of 2'));
    expect(idsOn(last)).toHaveLength(1);
    expect(idsOn(list)).not.toContain(idsOn(last)[0]);
    await ben.click(last, LIST_ACTIONS.approve);
    await ben.waitForView(({ blocks }) => seenIn(blocks).includes('Nothing is picked'));
  });

  it.each<[string, Partial<TermsOverrides>, RegExp, string?]>([
    ['several people decide', { rule: { quorum: 2 } }, /needs several people/],
    [
      'needs a reason of its own',
      { rule: { reason: { approve: 'required', deny: 'optional' } } },
      /reason of its own/,
    ],
    [
      'does not fit whole on the list',
      { arguments: { ticket: `T-4 ${'x'.repeat(2_000)}` } },
      /not shown whole here/,
      'not_shown_whole',
    ],
  ])(
    '[display:nothing-hidden] approves alone what %s, and lets it be denied with others',
    async (_, given, why, refusal = 'one_by_one') => {
      await flood(3);
      const sealed = await t.propose({ arguments: { ticket: 'T-4' }, ...given });
      const list = await openList('U0BEN', await digest('1 more call of'));
      expect(idsOn(list)).toEqual([sealed.terms.id]);
      expect(JSON.stringify(list.blocks)).toMatch(why);
      const ben = t.person('U0BEN');
      await ben.click(list, LIST_ACTIONS.approve, { state: picks(list, idsOn(list)) });
      const refused = await ben.waitForView(({ title }) => title === 'What came of it');
      expect(seenIn(refused.blocks)).toMatch(why);
      await ben.closeView(refused);
      // Had our own form asked about it all the same, it would not count.
      const { shown } = drawListed(viewFor(sealed, undefined, ['secret']));
      const { tenant, agent } = sealed.terms.context;
      await submitByHand(
        sealList(testKeys.approvalPrivate, {
          v: 1,
          for: 'approve',
          tenant,
          agent,
          person: PersonId.parse('slack:T0ACME/U0BEN'),
          ids: [sealed.terms.id],
          shown: listDigest([shown]),
        }),
      );
      await expect.poll(() => t.refusals()).toEqual([refusal]);
      await ben.click(list, LIST_ACTIONS.openOne);
      const whole = await ben.waitForView(({ title }) => title === 'Review this call');
      expect(seenIn(whole.blocks)).toContain('T-4');
      await ben.closeView(whole);
      await ben.click(list, LIST_ACTIONS.deny, { state: picks(list, idsOn(list)) });
      const question = await ben.waitForView(({ title }) => title === 'Deny 1 call');
      await ben.submit(question, { cs_reason: 'no' });
      await expect.poll(() => t.status(sealed.terms.id)).toBe('denied');
    },
  );

  it('approves a folded call alone from its review, and answers in the channel', async () => {
    await flood(4);
    const list = await openList('U0BEN', await digest('1 more call of'));
    const [id] = idsOn(list) as [ProposalId];
    const ben = t.person('U0BEN');
    await ben.click(list, LIST_ACTIONS.openOne);
    await ben.submit(await ben.waitForView(({ title }) => title === 'Review this call'));
    await t.told('U0BEN', 'Your approval is recorded');
    const card = await t.cardSaying(id, 'Approved');
    expect(seenIn(card.blocks)).toContain('Approved by <@U0BEN>');
  });
});

describe('identical calls', () => {
  const t = surfaceForTests('socket', redis, { policy: POLICY });
  const chen = () => t.person('U0CHEN');
  const cards = async () =>
    (await chen().messages(CHANNEL)).filter(({ blocks }) => seenIn(blocks).includes('Approval needed'));
  const joint = (count: number) =>
    chen().waitForMessage(CHANNEL, ({ blocks }) =>
      seenIn(blocks).includes(`${count} identical calls wait on this card`),
    );
  const three = async (given: Partial<TermsOverrides> = {}) => [
    await t.propose(given),
    await t.propose({ ...given, context: { run: 'run-2' } }),
    await t.propose(given),
  ];
  const statuses = async (all: readonly SealedTerms[]) =>
    Promise.all(all.map(({ terms }) => t.status(terms.id)));

  it('wait on one card that names each, and a plain approval lets one of them run', async () => {
    const all = await three();
    const card = await joint(3);
    for (const { terms } of all) expect(seenIn(card.blocks)).toContain(terms.id);
    expect(seenIn(card.blocks)).toContain('Approve 1 of 3');
    await expect.poll(() => cards()).toHaveLength(1);
    await t.person('U0ANA').click(card, 'cs_approve');
    await t.told('U0ANA', 'Your approval is recorded');
    expect((await statuses(all)).sort()).toEqual(['approved', 'pending', 'pending']);
    const next = await joint(2);
    expect(next.ts).not.toBe(card.ts);
    await expect.poll(() => cards()).toHaveLength(1);
  });

  it('are approved together only as they were listed: what comes later is not covered, and each is signed', async () => {
    const all = await three();
    const card = await joint(3);
    const ana = t.person('U0ANA');
    await ana.click(card, LIST_ACTIONS.approveAll);
    const question = await ana.waitForView(({ title }) => title === 'Approve 3 calls');
    const late = await t.propose();
    await joint(4);
    await ana.submit(question);
    await ana.waitForView(({ blocks }) => seenIn(blocks).includes('You approved 3 calls'));
    await expect.poll(() => statuses(all)).toEqual(['approved', 'approved', 'approved']);
    expect(await t.status(late.terms.id)).toBe('pending');
    const signed = await t.entries('decision.approve');
    expect(new Set(signed.map(({ detail }) => detail.signature)).size).toBe(3);
    await t.cardSaying(late.terms.id, 'Approval needed');
  });

  it('are denied together with one reason', async () => {
    const all = await three();
    const ben = t.person('U0BEN');
    await ben.click(await joint(3), LIST_ACTIONS.denyAll);
    await ben.submit(await ben.waitForView(({ title }) => title === 'Deny 3 calls'), { cs_reason: 'a loop' });
    await expect.poll(() => statuses(all)).toEqual(['denied', 'denied', 'denied']);
  });

  it('are not approved with an id that somebody put into the button', async () => {
    await three();
    const other = await t.propose({ arguments: { ticket: 'T-EVIL' } });
    const card = await joint(3);
    await t.person('U0ANA').click(card, LIST_ACTIONS.approveAll);
    await t.person('U0ANA').waitForView(({ title }) => title === 'Approve 3 calls');
    await t.resend(({ actions }) => {
      for (const action of actions) action.value += ` ${other.terms.id}`;
    });
    await expect.poll(() => t.refusals()).toContain('not_on_the_list');
    expect(t.slack.traffic.calls('views.open')).toHaveLength(1);
  });

  it.each<[string, Partial<TermsOverrides>]>([
    ['a homoglyph in the arguments', { arguments: { ticket: 'Т-1' } }],
    ['an invisible character in the arguments', { arguments: { ticket: 'T-1\u200b' } }],
    ['another environment', { context: { environment: 'staging' } }],
    ['another principal', { context: { principal: 'slack:T0ACME/U0OTHER' } }],
    ['another rule', { rule: { quorum: 2 } }],
    ['other words of the agent', { statedReason: 'please' }],
  ])('do not join over %s', async (_, given) => {
    const one = await t.propose();
    const other = await t.propose(given);
    expect(alikeDigest(other.terms)).not.toBe(alikeDigest(one.terms));
    await t.cardSaying(one.terms.id, 'Approval needed');
    await t.cardSaying(other.terms.id, 'Approval needed');
    await expect.poll(() => cards()).toHaveLength(2);
  });
});

describe('a call that cannot be undone', () => {
  const lasting = defineTool({
    name: 'ticket.close',
    description: 'Closes a ticket for good',
    irreversible: true,
    input: z.strictObject({ ticket: z.string() }),
    execute: () => ({}),
  });
  const t = surfaceForTests('socket', redis, {
    policy: POLICY,
    adjust: (parts) => ({ ...parts, registry: new ToolRegistry([lasting]) }),
  });

  it('is never approved together with others: not with identical ones, and not from the list', async () => {
    const all = [await t.propose(), await t.propose(), await t.propose()];
    const card = await t
      .person('U0CHEN')
      .waitForMessage(CHANNEL, ({ blocks }) => seenIn(blocks).includes('3 identical calls wait'));
    expect(JSON.stringify(card.blocks)).toContain(LIST_ACTIONS.denyAll);
    expect(JSON.stringify(card.blocks)).not.toContain(LIST_ACTIONS.approveAll);
    // A client that has the button all the same.
    const ana = t.person('U0ANA');
    await ana.click(card, LIST_ACTIONS.denyAll);
    await ana.waitForView(({ title }) => title === 'Deny 3 calls');
    await t.resend(({ actions }) => {
      for (const action of actions) action.action_id = LIST_ACTIONS.approveAll;
    });
    await expect
      .poll(() => JSON.stringify(t.slack.traffic.calls('views.open').at(-1)?.body))
      .toContain('cannot be undone');
    for (const { terms } of all) expect(await t.status(terms.id)).toBe('pending');
  });
});

interface Submission {
  user: { id: string };
  view: { callback_id: string; private_metadata: string; state: unknown };
  [key: string]: unknown;
}

function metadataOf(sent: unknown): string {
  const { view } = sent as { view: string | { private_metadata: string } };
  return (typeof view === 'string' ? (JSON.parse(view) as { private_metadata: string }) : view)
    .private_metadata;
}
