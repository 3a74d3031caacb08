import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  argumentChanges,
  EDITABLE_CHARACTERS,
  editableArguments,
} from '../../src/core/approval/editable-arguments.ts';
import { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { parseTerms, type SealedTerms, sealTerms, unseal } from '../../src/core/proposal/seal.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { defineTool, toolDigest } from '../../src/core/tool/tool.ts';
import { proposalKey } from '../../src/redis/keys.ts';
import type { SeenMessage } from '../../src/sandbox/slack/person-interface.ts';
import { ACTIONS, drawCard } from '../../src/slack/card.ts';
import { EDIT_DONE } from '../../src/slack/edit-actions.ts';
import { CARD_BUDGET } from '../../src/slack/limits.ts';
import { NOTICES, REFUSAL_NOTICES } from '../../src/slack/notices.ts';
import { drawReview } from '../../src/slack/review.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { type TermsOverrides, testKeys } from '../sealed-terms.ts';
import { everyState, seenIn, termsFor, textsIn, viewFor } from './card-views.ts';
import { A_TOKEN, CHANNEL, loggedError, SLACK_FAILED, surfaceForTests } from './surface-for-tests.ts';

const ticketClose = defineTool({
  name: 'ticket.close',
  description: 'Closes a ticket',
  input: z.strictObject({ id: z.string(), queue: z.string(), note: z.string().max(50).optional() }),
  execute: () => ({}),
});
const rowWrite = defineTool({
  name: 'row.write',
  description: 'Writes a row',
  input: z.strictObject({ row: z.int(), id: z.string().optional() }),
  execute: () => ({}),
});

const TOOLS = [ticketClose, rowWrite];

const POLICY = `
tools: { allow: [ticket.close, row.write] }
write_tools: { enabled: true }
approvals:
  required_for: [ticket.close, row.write]
  defaults: { approvers: ["usergroup:S0SUPPORT", "user:U0LEAD"], quorum: 2, expires_in: 20m, edit: true }
resources:
  ticket.close: { properties: { queue: { enum: [support, sales] } } }
tenants:
  acme: { slack: { team: T0ACME, channel: ${CHANNEL} }, environments: [production, staging] }
  globex: { slack: { team: T0GLOBEX, channel: C0GLOBEX }, environments: [production] }
switch:
  operators: ["usergroup:S0ONCALL"]
  arming: { operators: ["user:U0LEAD"], quorum: 1 }
`;

const ASKED = { id: 'ACME-1', queue: 'support' };
const WANTED = JSON.stringify({ id: 'ACME-2', queue: 'support' });

describe('an edit before the approval', () => {
  const redis = redisForTests();
  const t = surfaceForTests('socket', redis, { policy: POLICY, tools: TOOLS });

  const asked = (given: Partial<TermsOverrides> = {}): Partial<TermsOverrides> => ({
    arguments: ASKED,
    toolDigest: toolDigest(ticketClose),
    ...given,
    rule: { quorum: 2, edit: { editorMayApprove: false }, ...given.rule },
  });

  function reload(text: string): void {
    expect(t.parts.policy.replace(text, TOOLS)).toMatchObject({ ok: true });
  }

  async function form(message: SeenMessage, user = 'U0ANA') {
    const person = t.person(user);
    await person.click(message, ACTIONS.edit);
    return { person, view: await person.waitForView(({ callbackId }) => callbackId === 'cs_edit_form') };
  }

  async function edited(message: SeenMessage, text: string, user = 'U0ANA') {
    const { person, view } = await form(message, user);
    return person.submit(view, { cs_edit_arguments: text });
  }

  /** The proposal that stands in the place of another, by its own word. */
  async function successorOf(sealed: SealedTerms): Promise<SealedTerms> {
    const state = (await t.store.read(sealed.terms.id))?.state;
    if (state?.status !== 'halted' || state.cause.kind !== 'edited') throw new Error('it was not edited');
    const record = await t.store.read(state.cause.to);
    const opened = unseal([testKeys.proposal], record?.termsText ?? '', record?.seal ?? '');
    if (!opened.ok) throw new Error(opened.refusal);
    return opened.sealed;
  }

  const seenOf = (answer: Awaited<ReturnType<typeof edited>>) =>
    answer.ok ? seenIn(answer.view?.blocks) + Object.values(answer.errors).join() : answer.error;

  it('that fails is logged with what it failed with, and no token', async () => {
    const { message } = await t.card(asked());
    t.slack.faults.unavailable(1, 'views.open');
    await t.person('U0ANA').click(message, ACTIONS.edit);
    await t.told('U0ANA', NOTICES.failed);
    expect(await loggedError(t, 'a click on Edit failed')).toMatchObject(SLACK_FAILED);
    expect(t.logged.join('')).not.toMatch(A_TOKEN);
  });

  it('begun on a card whose posting was not recorded, that card is made to point to the live one', async () => {
    // The channel is told of the switch first; what is to get lost is the answer to the card.
    await t.person('U0ANA').waitForMessage(CHANNEL, ({ text }) => text.includes('Writes are on again'));
    t.slack.faults.loseReply('chat.postMessage');
    const { sealed } = await t.card(asked());
    const { id } = sealed.terms;
    const cards = async () =>
      (await t.person('U0ANA').messages(CHANNEL)).filter(({ blocks }) => JSON.stringify(blocks).includes(id));
    await expect.poll(cards).toHaveLength(2);
    const live = async () => (await t.store.read(id))?.card?.ts;
    await expect.poll(live).toBeDefined();
    const stands = await live();
    const copy = (await cards()).find(({ ts }) => ts !== stands);
    if (copy === undefined) throw new Error('there is one card alone');
    await form(copy);
    const pointing = async () => {
      const messages = await t.person('U0ANA').messages(CHANNEL);
      return seenIn(messages.find(({ ts }) => ts === copy.ts)?.blocks);
    };
    await expect.poll(pointing).toMatch(/earlier copy.*live card/);
  });

  it('ends the proposal, voids its approvals, and makes a new one with a card that says what was changed', async () => {
    const { sealed, message } = await t.card(asked({ idempotencyKey: 'key-1', statedReason: 'a duplicate' }));
    await t.person('U0BEN').click(message, 'cs_approve');
    await t.told('U0BEN', 'one more person has to approve');
    expect(seenOf(await edited(message, WANTED))).toBe(EDIT_DONE);

    const old = await t.cardSaying(sealed.terms.id, 'Changed: it will not run as it stands here');
    expect(seenIn(old.blocks)).toContain('<@U0ANA> changed this call');
    expect(JSON.stringify(old.blocks)).not.toContain(`"${ACTIONS.approve}"`);
    const next = await successorOf(sealed);
    expect(next.terms).toMatchObject({
      tool: 'ticket.close',
      arguments: WANTED,
      context: sealed.terms.context,
      statedReason: 'a duplicate',
      edits: { from: sealed.terms.id, by: 'slack:T0ACME/U0ANA', arguments: sealed.terms.arguments },
    });
    expect(next.terms.idempotencyKey).toBeUndefined();
    expect(next.terms.deadline - next.terms.createdAt).toBe(20 * 60_000);
    await expect
      .poll(async () => (await t.store.read(next.terms.id))?.state)
      .toMatchObject({ status: 'pending', approvals: [] });

    const card = await t.cardSaying(next.terms.id, 'Approval needed');
    const seen = seenIn(card.blocks);
    expect(seen).toContain('*Changed by <@U0ANA>*');
    expect(seen).toContain('id: "ACME-1" → "ACME-2"'.replaceAll('"', ''));
    expect(seen).toContain('"id": "ACME-2"');
    // The whole quorum, and the editor is none of it.
    await t.person('U0ANA').click(card, 'cs_approve');
    await t.told('U0ANA', REFUSAL_NOTICES.own_edit);
    await t.person('U0BEN').click(card, 'cs_approve');
    await t.told('U0BEN', 'one more person has to approve');
    expect(await t.status(next.terms.id)).toBe('pending');
    await t.person('U0LEAD').click(card, 'cs_approve');
    await t.cardSaying(next.terms.id, 'Approved');
  });

  it('[audit:every-transition] is audited in the step that makes it, without the arguments', async () => {
    const { sealed, message } = await t.card(asked());
    await edited(message, WANTED);
    const next = await successorOf(sealed);
    const entry = await t.entry('proposal.edited');
    expect(entry).toMatchObject({
      proposal: sealed.terms.id,
      detail: {
        by: 'slack:T0ACME/U0ANA',
        to: next.terms.id,
        was: sealed.terms.argumentsDigest,
        is: next.terms.argumentsDigest,
      },
    });
    expect((await t.entries('proposal.halted'))[0]?.proposal).toBe(sealed.terms.id);
    await expect
      .poll(async () => (await t.entries('proposal.created')).at(-1))
      .toMatchObject({
        proposal: next.terms.id,
        detail: { edits: { from: sealed.terms.id, by: 'slack:T0ACME/U0ANA' } },
      });
    expect(JSON.stringify(await t.entries('proposal.edited'))).not.toContain('ACME-2');
  });

  it('[args:strict-json] shows beneath the field what cannot be proposed, and proposes nothing', async () => {
    const { sealed, message } = await t.card(asked());
    const { person, view } = await form(message);
    for (const [text, problem] of [
      ['{ "id": "A", "id": "B", "queue": "support" }', /malformed/],
      ['{ "id": "A", "queue": "support", "__proto__": {} }', /malformed|scope|no argument/],
      ['{ "id": "A", "queue": ', /malformed/],
      ['{ "id": "A", "queue": "support", "tenant_id": "globex" }', /scope/],
      ['{ "id": "A", "queue": "support", "tenant_id": "acme" }', /scope/],
      // Another tool's arguments.
      ['{ "row": 3 }', /id/],
      ['{ "id": "A", "queue": "support", "row": 3 }', /no argument "row"/],
      ['{ "id": 7, "queue": "support" }', /"id"/],
      // Outside of what the policy lets anybody do with this tool.
      ['{ "id": "A", "queue": "finance" }', /The policy bounds ticket\.close: queue/],
      [JSON.stringify(ASKED), /nothing is changed/],
      [`{"id":"A","queue":"support","note":"${'x'.repeat(51)}"}`, /"note"/],
    ] as const) {
      const answer = await person.submit(view, { cs_edit_arguments: text });
      expect(answer.ok ? answer.errors : {}, text).toMatchObject({
        cs_edit_arguments: expect.stringMatching(problem),
      });
    }
    expect(await t.status(sealed.terms.id)).toBe('pending');
    expect(await t.entries('proposal.edited')).toEqual([]);
    // The form is still there, and what is right goes through.
    expect(seenOf(await person.submit(view, { cs_edit_arguments: WANTED }))).toBe(EDIT_DONE);
  });

  it('[decision:identity-from-the-signed-body] is for those who may decide, when the form opens and when it is handed in', async () => {
    const { sealed, message } = await t.card(asked({ context: { principal: 'slack:T0ACME/U0RITA' } }));
    for (const [user, notice] of [
      ['U0CHEN', REFUSAL_NOTICES.not_an_approver],
      ['U0RITA', REFUSAL_NOTICES.own_call],
      ['U0GUEST', REFUSAL_NOTICES.guest],
    ] as const) {
      await t.person(user).click(message, ACTIONS.edit);
      await t.told(user, notice);
    }
    const { view } = await form(message);
    for (const user of ['U0CHEN', 'U0RITA', 'U0GUEST']) {
      const answer = (await t.slack.send({
        type: 'interactive',
        team: 'T0ACME',
        acceptsResponse: true,
        payload: {
          type: 'view_submission',
          api_app_id: 'A0COUNTERSIGN',
          trigger_id: 'x',
          user: { id: user, team_id: 'T0ACME' },
          team: { id: 'T0ACME', domain: 'acme' },
          view: {
            id: view.id,
            hash: 'h',
            callback_id: 'cs_edit_form',
            private_metadata: JSON.stringify({
              proposal: sealed.terms.id,
              shown: drawCard({ ...viewFor(sealed), redact: [] }).shown,
            }),
            state: { values: { cs_edit_arguments: { cs_edit_arguments_text: { value: WANTED } } } },
          },
        },
      })) as unknown;
      expect(JSON.stringify(answer) ?? '', user).not.toContain('Proposed');
    }
    await expect.poll(async () => (await t.refusals()).length).toBe(6);
    expect(await t.status(sealed.terms.id)).toBe('pending');
    expect(await t.entries('proposal.edited')).toEqual([]);
  });

  it('lets the editor approve where the rule says so, as one of the quorum', async () => {
    const { sealed, message } = await t.card(asked());
    const text = POLICY.replace('edit: true', 'edit: { editor_may_approve: true }');
    reload(text);
    await edited(message, WANTED);
    const next = await successorOf(sealed);
    const card = await t.cardSaying(next.terms.id, 'Approval needed');
    await t.person('U0ANA').click(card, 'cs_approve');
    await t.told('U0ANA', 'one more person has to approve');
  });

  it('keeps everybody who edited out of it, however often it is edited', async () => {
    const { sealed, message } = await t.card(asked());
    await edited(message, WANTED);
    const second = await successorOf(sealed);
    const card = await t.cardSaying(second.terms.id, 'Approval needed');
    await edited(card, JSON.stringify({ id: 'ACME-3', queue: 'sales' }), 'U0BEN');
    const third = await successorOf(second);
    expect(third.terms.edits?.editors).toEqual(['slack:T0ACME/U0ANA', 'slack:T0ACME/U0BEN']);
    const last = await t.cardSaying(third.terms.id, 'Approval needed');
    for (const user of ['U0ANA', 'U0BEN']) {
      await t.person(user).click(last, 'cs_approve');
      await t.told(user, REFUSAL_NOTICES.own_edit);
    }
  });

  it('offers no edit where the rule does not, where something is kept from view, and of what is too long', () => {
    const buttons = (given: Partial<TermsOverrides>, redact: readonly string[] = []) =>
      JSON.stringify(drawCard(viewFor(termsFor(given), undefined, redact)).blocks).includes(
        `"${ACTIONS.edit}"`,
      );
    const edit = { edit: { editorMayApprove: false } };
    expect(buttons({ rule: edit })).toBe(true);
    expect(buttons({})).toBe(false);
    expect(buttons({ rule: edit }, ['password'])).toBe(false);
    expect(buttons({ rule: edit, arguments: { text: 'x'.repeat(EDITABLE_CHARACTERS) } })).toBe(false);
  });

  it('refuses an edit that a policy of now no longer allows', async () => {
    const { sealed, message } = await t.card(asked());
    const { person, view } = await form(message);
    reload(POLICY.replace(', edit: true', ''));
    const answer = await person.submit(view, { cs_edit_arguments: WANTED });
    expect(seenOf(answer)).toBe(REFUSAL_NOTICES.not_editable);
    expect(await t.status(sealed.terms.id)).toBe('pending');
  });

  it('[decision:one-winner] has one winner where two people edit at once', async () => {
    const { sealed, message } = await t.card(asked());
    const [ana, ben] = [await form(message, 'U0ANA'), await form(message, 'U0BEN')];
    const answers = await Promise.all([
      ana.person.submit(ana.view, { cs_edit_arguments: WANTED }),
      ben.person.submit(ben.view, { cs_edit_arguments: '{"id":"ACME-9","queue":"support"}' }),
    ]);
    const said = answers.map(seenOf).sort();
    expect(said).toEqual([EDIT_DONE, REFUSAL_NOTICES.already_settled].sort());
    await expect.poll(() => t.entries('proposal.edited')).toHaveLength(1);
    expect(await t.store.pending({ limit: 10 })).toEqual([(await successorOf(sealed)).terms.id]);
  });

  it('[decision:one-winner] has one winner against the last approval', async () => {
    const { sealed, message } = await t.card(asked({ rule: { quorum: 1 } }));
    const { person, view } = await form(message);
    await Promise.all([
      person.submit(view, { cs_edit_arguments: WANTED }),
      t.person('U0BEN').click(message, 'cs_approve'),
    ]);
    await expect.poll(() => t.status(sealed.terms.id)).not.toBe('pending');
    const status = await t.status(sealed.terms.id);
    await expect.poll(() => t.entries('proposal.edited')).toHaveLength(status === 'halted' ? 1 : 0);
    await expect.poll(() => t.entries('proposal.approved')).toHaveLength(status === 'approved' ? 1 : 0);
  });

  it('[switch:off-means-no-start] changes nothing once writes are off', async () => {
    const { sealed, message } = await t.card(asked());
    const { person, view } = await form(message);
    await t.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test', why: 'stop' });
    const answer = await person.submit(view, { cs_edit_arguments: WANTED });
    expect([REFUSAL_NOTICES.writes_off, REFUSAL_NOTICES.already_settled]).toContain(seenOf(answer));
    await expect.poll(() => t.status(sealed.terms.id)).toBe('halted');
    expect(await t.entries('proposal.edited')).toEqual([]);
  });

  it('[approval:signed-outside-redis] a forged link names nobody: the card says so, and an alarm is raised', async () => {
    const one = await t.card(asked());
    const other = await t.propose(asked({ arguments: { id: 'ACME-5', queue: 'support' } }));
    const cause = { kind: 'edited', by: 'slack:T0ACME/U0LEAD', to: other.terms.id };
    await redis.client.hset(
      proposalKey(one.sealed.terms.id),
      'status',
      'halted',
      'haltedAt',
      String(Date.now()),
      'cause',
      JSON.stringify(cause),
      'revision',
      '9',
    );
    await redis.client.zadd('{s0}:cards:update:acme', 1, one.sealed.terms.id);
    await redis.client.zadd('{s0}:cards', 0, 'update:acme');
    const card = await t.cardSaying(one.sealed.terms.id, 'Halted');
    expect(seenIn(card.blocks)).not.toContain('U0LEAD> changed');
    await expect
      .poll(async () => (await t.entries('alarm.raised')).map(({ detail }) => detail.alarm))
      .toContain('edit_forged');
  });

  it('[proposal:frozen] the script takes nothing but the same call with other arguments', async () => {
    const { sealed } = await t.card(asked());
    const now = await t.store.now();
    const changed = (change: Parameters<typeof Object.assign>[1]) =>
      sealTerms(testKeys.proposal, {
        ...(parseTerms(sealed.text) ?? sealed.terms),
        id: ProposalId.parse(`prop_00${'a'.repeat(24)}`),
        createdAt: now,
        ...change,
      });
    for (const change of [
      { tool: 'row.write' },
      { context: { ...sealed.terms.context, agent: 'another-bot' } },
      { context: { ...sealed.terms.context, environment: 'staging' } },
      { context: { ...sealed.terms.context, principal: 'slack:T0ACME/U0BEN' } },
    ]) {
      expect(await t.store.edit(sealed, changed(change))).toMatchObject({ refusal: 'terms_changed' });
    }
    expect(
      await t.store.edit({ ...sealed, termsDigest: (await t.propose(asked())).termsDigest }, changed({})),
    ).toMatchObject({ refusal: 'terms_changed' });
    expect(await t.store.edit(sealed, changed({ switchEpoch: 99 }))).toMatchObject({
      refusal: 'stale_terms',
    });
    expect(await t.status(sealed.terms.id)).toBe('pending');
  });
});

describe('what stands in the form', () => {
  it('[display:nothing-hidden] shows every character that draws nothing as an escape, and means the same', () => {
    const sneaky = { id: 'A\u202E\u200B\u2028x\u{E0041}\u0301\u00A0', note: 'two\nlines "quoted" \\ ⟨×3⟩' };
    const terms = termsFor({ arguments: sneaky, rule: { edit: { editorMayApprove: false } } }).terms;
    const text = editableArguments(terms, []) ?? '';
    expect(JSON.parse(text)).toEqual(sneaky);
    expect(text.replaceAll('\n', '')).toMatch(/^[\x20-\x7e⟨×⟩]*$/);
  });
});

describe('what was changed, in words', () => {
  const edits = (was: object, is: object) => {
    const { terms } = termsFor({ arguments: JSON.parse(JSON.stringify(is)) });
    const before = termsFor({ arguments: JSON.parse(JSON.stringify(was)) }).terms;
    return {
      ...viewFor(termsFor()),
      terms: {
        ...terms,
        edits: { from: before.id, arguments: before.arguments, by: person, editors: [person] },
      },
    };
  };
  const person = termsFor().terms.basis.kind === 'people' ? ('slack:T0ACME/U0ANA' as never) : ('' as never);

  it('names each path, with what was there and what is', () => {
    expect(argumentChanges('{"a":{"b":1,"c":[1,2]},"x":"y"}', '{"a":{"b":2,"c":[1,2]},"z":null}')).toEqual([
      { path: 'a.b', was: 1, is: 2 },
      { path: 'x', was: 'y', is: undefined },
      { path: 'z', was: undefined, is: null },
    ]);
    const seen = seenIn(drawCard(edits({ id: 'ACME-1', n: 1 }, { id: 'ACME-2', n: 1, text: 'true' })).blocks);
    expect(seen).toContain('id: ACME-1 → ACME-2\ntext: (not there) → "true"');
  });

  it('[display:agent-text-is-data] lets no value or name pass for another change, a mention or a word of ours', () => {
    const evil = 'x\nid: ACME-1 → ACME-2 <!channel> *Changed by Ben* \u202E⟨cut: 3⟩';
    const view = edits({ [evil]: 'a', id: 'ACME-1' }, { [evil]: evil, id: 'ACME-1' });
    for (const state of everyState(termsFor())) {
      const { blocks } = drawCard({ ...view, state });
      const parsed = textsIn(blocks).filter(({ kind }) => kind !== 'text');
      expect(parsed.filter(({ text }) => /<!channel>|Changed by Ben/.test(text))).toEqual([]);
      expect(seenIn(blocks).split('\n')).not.toContain('id: ACME-1 → ACME-2 <!channel> *Changed by Ben* ');
    }
  });

  it('[display:nothing-hidden] is cut loudly on the card, whole in the review, and always within limits', () => {
    const view = edits({ text: '文'.repeat(900) }, { text: '字'.repeat(900) });
    const card = drawCard(view);
    expect(card.needsReview).toBe(true);
    expect(seenIn(card.blocks)).toContain('*CUT: press Review for all of it*');
    expect(seenIn(drawReview(view)?.pages)).toContain(`"${'文'.repeat(900)}" → "${'字'.repeat(900)}"`);
    for (const state of everyState(termsFor(), '字'.repeat(3000), 19)) {
      const { blocks } = drawCard({
        ...view,
        state,
        preview: { kind: 'text', text: '文'.repeat(8000), cut: 1 },
      });
      expect(Buffer.byteLength(JSON.stringify(blocks))).toBeLessThanOrEqual(CARD_BUDGET.jsonBytes);
    }
  });
});
