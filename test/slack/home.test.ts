import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import type { SeenView } from '../../src/sandbox/slack/person-interface.ts';
import type { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import { findWorkspace } from '../../src/sandbox/slack/slack-world.ts';
import { drawCard } from '../../src/slack/card.ts';
import { drawHome, type HomeContent, type RecentDecision, type WaitingCall } from '../../src/slack/home.ts';
import { CANNOT_CHECK, NOT_A_MEMBER } from '../../src/slack/home-inbox.ts';
import { REFUSAL_NOTICES } from '../../src/slack/notices.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { ANA, signedDecision } from '../sealed-terms.ts';
import { seenIn, termsFor, viewFor } from './card-views.ts';
import { CHANNEL, type Mode, surfaceForTests } from './surface-for-tests.ts';

const redis = redisForTests();
const NIA = { tenant: 'globex', principal: 'slack:T0GLOBEX/U0NIA' } as const;

async function homeOf(person: SlackPerson, saying: (seen: string) => boolean): Promise<SeenView> {
  let home: SeenView | null = null;
  await expect
    .poll(async () => {
      home = await person.home();
      return home !== null && saying(seenIn(home.blocks));
    })
    .toBe(true);
  if (home === null) throw new Error('no Home tab');
  return home;
}

async function opened(person: SlackPerson, containing = 'Waiting for you'): Promise<SeenView> {
  expect(await person.openHome()).toEqual({ ok: true });
  return homeOf(person, (seen) => seen.includes(containing));
}

/** The block of a call's buttons; ids are unique in a view. */
function buttonsOf(home: SeenView, id: string): { blockId: string } {
  const block = home.blocks.find(
    (candidate) => candidate.type === 'actions' && JSON.stringify(candidate).includes(id),
  );
  return { blockId: String(block?.block_id) };
}

describe.each<Mode>(['socket', 'http'])('the Home tab, in %s mode', (mode) => {
  const t = surfaceForTests(mode, redis);

  it('shows what I may decide, oldest deadline first, whole, with the state of the switch above', async () => {
    const late = await t.card({ arguments: { ticket: 'T-late' }, rule: { expiresInMs: 900_000 } });
    const soon = await t.card({ arguments: { ticket: 'T-soon' }, rule: { expiresInMs: 60_000 } });
    const seen = seenIn((await opened(t.person('U0ANA'))).blocks);
    expect(seen).toContain('*Writes are on.*');
    expect(seen).toContain('Waiting for you: 2');
    expect(seen.indexOf('T-soon')).toBeGreaterThan(0);
    expect(seen.indexOf('T-soon')).toBeLessThan(seen.indexOf('T-late'));
    for (const { message } of [late, soon]) expect(seen).toContain(`/p${message.ts.replace('.', '')}`);
  });

  it('approves from there, exactly as from the card, and shows it among my decisions', async () => {
    const { sealed } = await t.card();
    const ana = t.person('U0ANA');
    const home = await opened(ana);
    expect(await ana.click(home, 'cs_approve', buttonsOf(home, sealed.terms.id))).toEqual({ ok: true });
    const after = await homeOf(ana, (seen) => seen.includes('Your approval is recorded'));
    expect(seenIn(after.blocks)).toContain('Waiting for you: 0');
    expect(seenIn(after.blocks)).toContain('You approved `ticket.close` for `acme` in `production`');
    await t.cardSaying(sealed.terms.id, 'Approved');
    const record = await t.store.read(sealed.terms.id);
    const [statement] = record?.state.approvals.map((signed) => signed.statement) ?? [];
    expect(statement).toMatchObject({ person: 'slack:T0ACME/U0ANA', as: 'usergroup:S0SUPPORT' });
  });

  it('denies from there, with the reason in a form', async () => {
    const { sealed } = await t.card();
    const ben = t.person('U0BEN');
    const home = await opened(ben);
    await ben.click(home, 'cs_deny', buttonsOf(home, sealed.terms.id));
    await ben.submit(await ben.waitForView(), { cs_reason: 'not a duplicate' });
    await expect.poll(() => t.status(sealed.terms.id)).toBe('denied');
    const after = await homeOf(ben, (seen) => seen.includes('You denied `ticket.close`'));
    expect(seenIn(after.blocks)).toContain('Waiting for you: 0');
  });

  it('[display:nothing-hidden] approves what does not fit only from its review', async () => {
    const { sealed } = await t.card({ arguments: { body: 'x y '.repeat(1_500), last: 'the very end' } });
    const ana = t.person('U0ANA');
    const home = await opened(ana);
    expect(JSON.stringify(home.blocks)).not.toContain('cs_approve');
    await ana.click(home, 'cs_review', buttonsOf(home, sealed.terms.id));
    let page = await ana.waitForView();
    while (page.submit === undefined) {
      const { hash } = page;
      await ana.click(page, 'cs_review_next');
      page = await ana.waitForView((view) => view.hash !== hash);
    }
    expect(seenIn(page.blocks)).toContain('the very end');
    await ana.submit(page);
    await expect.poll(() => t.status(sealed.terms.id)).toBe('approved');
  });

  it("shows nobody what another one may decide, nor another tenant, nor one's own call", async () => {
    const acme = await t.card({ arguments: { ticket: 'T-acme' } });
    const globex = await t.card({
      context: NIA,
      arguments: { ticket: 'T-globex' },
      rule: { approvers: ['usergroup:S0GLOBEXSUP'] },
    });
    const own = await t.card({
      arguments: { ticket: 'T-own' },
      context: { principal: 'slack:T0ACME/U0ANA' },
    });
    const ana = seenIn((await opened(t.person('U0ANA'))).blocks);
    expect(ana).toContain(acme.sealed.terms.id);
    for (const { sealed } of [globex, own]) expect(ana).not.toContain(sealed.terms.id);
    expect(ana).not.toContain('T-globex');
    const chen = seenIn((await opened(t.person('U0CHEN'))).blocks);
    expect(chen).toContain('Waiting for you: 0');
    expect(chen).not.toContain('T-acme');
    const omar = seenIn((await opened(t.person('U0OMAR', 'T0GLOBEX'))).blocks);
    expect(omar).toContain('T-globex');
    expect(omar).not.toContain('T-acme');
    // To look is no click: nothing of it is a refusal.
    expect(await t.refusals()).toEqual([]);
  });

  it('shows a guest nothing, and says so', async () => {
    const { sealed } = await t.card();
    const guest = await opened(t.person('U0GUEST'), NOT_A_MEMBER);
    expect(JSON.stringify(guest.blocks)).not.toContain(sealed.terms.id);
  });

  it('shows nothing where it cannot check, and says so', async () => {
    const { sealed } = await t.card();
    t.slack.faults.unavailable(1, 'users.info');
    const home = await opened(t.person('U0ANA'), CANNOT_CHECK);
    expect(JSON.stringify(home.blocks)).not.toContain(sealed.terms.id);
    t.slack.faults.unavailable(1, 'usergroups.users.list');
    await t.person('U0ANA').click(home, 'cs_home_refresh');
    const unsure = await homeOf(t.person('U0ANA'), (seen) =>
      seen.includes('Not everything could be checked'),
    );
    expect(JSON.stringify(unsure.blocks)).not.toContain(sealed.terms.id);
  });

  it('shows nothing of a channel that is shared with another company, and takes no click there', async () => {
    const { sealed } = await t.card();
    const ana = t.person('U0ANA');
    const home = await opened(ana);
    const channel = findWorkspace(t.slack.world, 'T0ACME')?.channels.find(({ id }) => id === CHANNEL);
    if (channel) channel.isExtShared = true;
    await ana.click(home, 'cs_approve', buttonsOf(home, sealed.terms.id));
    await homeOf(ana, (seen) => seen.includes(REFUSAL_NOTICES.shared_channel));
    expect(await t.status(sealed.terms.id)).toBe('pending');
  });

  it('judges each click there anew: the settled, the one who left the group, the forged', async () => {
    const { sealed } = await t.card();
    const other = await t.card({ arguments: { ticket: 'T-2' }, rule: { approvers: ['user:U0LEAD'] } });
    const ana = t.person('U0ANA');
    const home = await opened(ana);
    await ana.click(home, 'cs_approve', buttonsOf(home, sealed.terms.id));
    await expect.poll(() => t.status(sealed.terms.id)).toBe('approved');
    // A client that sends what was never on its tab.
    await t.resend(({ actions }) => {
      const shown = drawCard({ ...viewFor(other.sealed), redact: ['secret'] }).shown;
      for (const action of actions) action.value = `${other.sealed.terms.id} ${shown}`;
    });
    await expect.poll(() => t.refusals()).toContain('not_an_approver');
    await t.resend(({ user, actions }) => {
      user.id = 'U0LEAD';
      for (const action of actions) action.value = `${other.sealed.terms.id} ${'0'.repeat(64)}`;
    });
    await expect.poll(() => t.refusals()).toContain('not_this_card');
    expect(await t.status(other.sealed.terms.id)).toBe('pending');
    const refused = await t.entry('decision.refused');
    expect(refused.detail).toMatchObject({ surface: 'home' });
  });

  it('a click in a modal or another view is none in the Home tab', async () => {
    const { sealed } = await t.card();
    const ana = t.person('U0ANA');
    const home = await opened(ana);
    await ana.click(home, 'cs_home_refresh');
    await t.resend((payload) => {
      Object.assign(payload.view as object, { type: 'modal' });
      payload.actions = [
        {
          type: 'button',
          action_id: 'cs_approve',
          value: `${sealed.terms.id} ${drawCard(viewFor(sealed)).shown}`,
        },
      ];
    });
    expect(await t.status(sealed.terms.id)).toBe('pending');
    expect(await t.entries('decision.approve')).toEqual([]);
  });

  it('is drawn again when something of it changes while it is before me, and not when nothing does', async () => {
    const ana = t.person('U0ANA');
    await opened(ana);
    const published = () => t.slack.traffic.calls('views.publish').length;
    const { sealed } = await t.card();
    await homeOf(ana, (seen) => seen.includes(sealed.terms.id));
    await t.person('U0BEN').click(await t.cardSaying(sealed.terms.id, 'Approval needed'), 'cs_approve');
    await homeOf(ana, (seen) => seen.includes('Waiting for you: 0'));
    await t.cardSaying(sealed.terms.id, 'Approved');
    const drawnToTheEnd = async (): Promise<number> => {
      const before = published();
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      return published() === before ? before : drawnToTheEnd();
    };
    const before = await drawnToTheEnd();
    await t.card({ context: NIA, rule: { approvers: ['usergroup:S0GLOBEXSUP'] } });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(published()).toBe(before);
  });

  it('is drawn a few times for many things at once, far below what Slack allows', async () => {
    const ana = t.person('U0ANA');
    await opened(ana);
    const before = t.slack.traffic.calls('views.publish').length;
    await Promise.all(Array.from({ length: 30 }, (_, i) => t.propose({ arguments: { ticket: `T-${i}` } })));
    await homeOf(ana, (seen) => seen.includes('Waiting for you: 30'));
    const drawn = t.slack.traffic.calls('views.publish').slice(before);
    // At once, and then again after each 0.7 s in which something changed: however slowly the 30 come.
    const span = (drawn.at(-1)?.at ?? 0) - (drawn[0]?.at ?? 0);
    expect(drawn.length).toBeLessThanOrEqual(2 + span / 700);
    expect(drawn.every(({ status }) => status === 200)).toBe(true);
  });

  it('shows what is off, and forgets nobody who looks while the switch is flipped', async () => {
    const ana = t.person('U0ANA');
    await opened(ana);
    await t.person('U0CHEN').command('/agent-writes off env staging wrong tickets', CHANNEL);
    await t.told('U0CHEN', 'Writes are off');
    await ana.click((await ana.home()) as SeenView, 'cs_home_refresh');
    const home = await homeOf(ana, (seen) => seen.includes('*environment staging*'));
    expect(seenIn(home.blocks)).toContain('by <@U0CHEN>');
    expect(seenIn(home.blocks)).toContain('environment staging: wrong tickets');
    // Who works elsewhere is not told who here did it, nor why.
    const omar = seenIn((await opened(t.person('U0OMAR', 'T0GLOBEX'))).blocks);
    expect(omar).toContain('*environment staging*');
    expect(omar).not.toContain('wrong tickets');
    expect(omar).not.toContain('U0CHEN');
  });

  it('has as many pages as it takes, and turns them', async () => {
    await Promise.all(
      Array.from({ length: 12 }, (_, i) =>
        t.propose({ arguments: { ticket: `T-${i}`, body: 'y'.repeat(1_500) } }),
      ),
    );
    const ana = t.person('U0ANA');
    const first = await opened(ana, 'Page 1 of');
    expect(first.blocks.length).toBeLessThanOrEqual(100);
    await ana.click(first, 'cs_home_next');
    const second = await homeOf(ana, (seen) => seen.includes('Page 2 of'));
    const ids = (home: SeenView) => new Set(JSON.stringify(home.blocks).match(/prop_[0-9a-v]{26}/g) ?? []);
    for (const id of ids(second)) expect(ids(first)).not.toContain(id);
    await ana.click(second, 'cs_home_back');
    await homeOf(ana, (seen) => seen.includes('Page 1 of'));
  });

  it('shows only decisions that are mine and genuine', async () => {
    const { sealed } = await t.card();
    const ana = t.person('U0ANA');
    await redis.client.zadd('{s0}:recent:slack:T0ACME/U0ANA', 1, sealed.terms.id);
    const forged = signedDecision(sealed, 'approve', ANA);
    const key = `{s0}:proposal:${sealed.terms.id}`;
    await redis.client.hset(key, {
      [`vote:${ANA}`]: JSON.stringify({ ...forged, signature: 'AAAA' }),
      [`voted:${ANA}`]: 'approve',
      voters: JSON.stringify([ANA]),
    });
    const home = seenIn((await opened(ana)).blocks);
    expect(home).not.toContain('You approved');
  });

  it('answers also where Slack does not take the tab at first', async () => {
    const { sealed } = await t.card();
    const ana = t.person('U0ANA');
    const home = await opened(ana);
    t.slack.faults.unavailable(1, 'views.publish');
    await ana.click(home, 'cs_approve', buttonsOf(home, sealed.terms.id));
    await homeOf(ana, (seen) => seen.includes('Your approval is recorded'));
  });
});

describe('the size of a Home tab', () => {
  const scripts = fc.constantFrom('a', '\n', '\u202e', '"', '語', '👩‍💻', '<!channel>', ' ');
  const text = (max: number) =>
    fc
      .tuple(fc.string({ unit: scripts, maxLength: 60 }), fc.integer({ min: 0, max }))
      .map(([s, n]) => s.repeat(n).slice(0, max));
  const call = fc.record({
    body: text(8_000),
    list: fc.array(fc.string(), { maxLength: 60 }),
    reason: text(2_000),
  });

  it('is within what Slack takes, whatever waits, on every page', () => {
    fc.assert(
      fc.property(
        fc.array(call, { maxLength: 25 }),
        fc.integer({ min: 0, max: 10 }),
        text(600),
        (calls, decided, why) => {
          const waiting = calls.map(({ body, list, reason }): WaitingCall => {
            const sealed = termsFor({
              arguments: { body: body.toWellFormed(), list: list.map((item) => item.toWellFormed()) },
              ...(reason === '' ? {} : { statedReason: reason.toWellFormed() }),
            });
            return {
              proposal: sealed.terms.id,
              card: drawCard(viewFor(sealed)),
              link: 'https://acme.slack.com/archives/C0/p1',
            };
          });
          const { terms } = termsFor();
          const { statement } = signedDecision(termsFor(), 'approve', ANA);
          const recent: RecentDecision[] = Array.from({ length: decided }, () => ({
            terms,
            decision: statement,
            status: 'unknown' as const,
            link: undefined,
          }));
          const content: HomeContent = {
            kind: 'inbox',
            writes: `*Writes are off.*\n${'• off: *tenant acme*\n'.repeat(6)}`,
            why,
            waiting,
            unchecked: true,
            recent,
          };
          const shown = new Set<string>();
          for (let page = 0; page <= calls.length; page += 1) {
            const view = drawHome(content, { page, notice: REFUSAL_NOTICES.shared_channel });
            expect(view.blocks.length).toBeLessThanOrEqual(100);
            expect(JSON.stringify(view).length).toBeLessThan(250_000);
            const ids = view.blocks.flatMap(({ block_id }) => block_id ?? []);
            expect(new Set(ids).size).toBe(ids.length);
            for (const id of JSON.stringify(view).match(/prop_[0-9a-v]{26}/g) ?? []) {
              if (ProposalId.safeParse(id).success) shown.add(id);
            }
          }
          for (const { proposal } of waiting) expect(shown).toContain(proposal);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('[display:agent-text-is-data] holds no word of an agent where Slack parses anything', () => {
    const sealed = termsFor({
      arguments: { x: '<!channel> *bold* <https://evil|x>' },
      statedReason: '<!here> ok',
    });
    const waiting = [{ proposal: sealed.terms.id, card: drawCard(viewFor(sealed)), link: undefined }];
    const view = drawHome(
      {
        kind: 'inbox',
        writes: '*Writes are on.*',
        why: '<!everyone>',
        waiting,
        unchecked: false,
        recent: [],
      },
      { page: 0 },
    );
    const parsed = JSON.stringify(view.blocks, (_, value) =>
      value !== null && typeof value === 'object' && value.type === 'rich_text' ? undefined : value,
    );
    expect(parsed).not.toMatch(/<!(channel|here|everyone)|evil/);
  });
});
