import { describe, expect, it } from 'vitest';
import type { SeenView } from '../../src/sandbox/slack/person-interface.ts';
import { REFUSAL_NOTICES } from '../../src/slack/notices.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { seenIn } from './card-views.ts';
import { surfaceForTests } from './surface-for-tests.ts';

const redis = redisForTests();
const LONG = {
  body: Array.from({ length: 700 }, (_, i) => `word${i}`).join(' '),
  list: Array.from({ length: 400 }, (_, i) => i),
  last: 'the very end',
};

describe('a call that does not fit on its card', () => {
  const t = surfaceForTests('socket', redis);

  async function lastPage(user: string, first: SeenView): Promise<{ seen: string; page: SeenView }> {
    const person = t.person(user);
    let page = first;
    let seen = seenIn(page.blocks);
    while (page.submit === undefined) {
      const { hash } = page;
      await person.click(page, 'cs_review_next');
      page = await person.waitForView((view) => view.hash !== hash);
      seen += `\n${seenIn(page.blocks)}`;
    }
    return { seen, page };
  }

  it('[display:nothing-hidden] is read page by page, and approved on the last page alone', async () => {
    const { sealed, message } = await t.card({ arguments: LONG });
    expect(JSON.stringify(message.blocks)).not.toContain('cs_approve');
    const ana = t.person('U0ANA');
    await ana.click(message, 'cs_review');
    const first = await ana.waitForView();
    expect(first.submit).toBeUndefined();
    expect(seenIn(first.blocks)).toContain('Page 1 of');
    const { seen, page } = await lastPage('U0ANA', first);
    for (const part of ['word0 ', 'word699', 'the very end', '399']) expect(seen).toContain(part);
    expect(await ana.submit(page)).toMatchObject({ ok: true, view: null });
    await t.cardSaying(sealed.terms.id, 'Approved');
    const record = await t.store.read(sealed.terms.id);
    expect(record?.state.approvals[0]?.statement.shown).toMatch(/^[0-9a-f]{64}$/);
  });

  it('can be read backwards, and keeps the approval on the last page', async () => {
    const { message } = await t.card({ arguments: LONG });
    const ana = t.person('U0ANA');
    await ana.click(message, 'cs_review');
    const { page } = await lastPage('U0ANA', await ana.waitForView());
    await ana.click(page, 'cs_review_back');
    const before = await ana.waitForView((view) => view.hash !== page.hash);
    expect(before.submit).toBeUndefined();
  });

  it('[display:nothing-hidden] is not approved from a page that is not the last', async () => {
    const { sealed, message } = await t.card({ arguments: LONG });
    const ana = t.person('U0ANA');
    await ana.click(message, 'cs_review');
    const { page } = await lastPage('U0ANA', await ana.waitForView());
    await ana.closeView(page);
    await ana.click(message, 'cs_review');
    const first = await ana.waitForView((view) => view.id !== page.id);
    // A client that hands in what was never offered to it.
    await t.slack.send({
      type: 'interactive',
      team: 'T0ACME',
      acceptsResponse: true,
      payload: {
        type: 'view_submission',
        api_app_id: 'A0COUNTERSIGN',
        team: { id: 'T0ACME', domain: 'acme' },
        user: { id: 'U0ANA', team_id: 'T0ACME' },
        trigger_id: '1.2.3',
        view: {
          ...first,
          callback_id: 'cs_review',
          private_metadata: privateMetadata(t.slack.traffic.calls('views.open').at(-1)?.body),
          state: { values: {} },
        },
      },
    });
    expect(await t.status(sealed.terms.id)).toBe('pending');
    expect(await t.entries('decision.approve')).toEqual([]);
  });

  it('asks for the reason on the last page where the rule requires one', async () => {
    const { sealed, message } = await t.card({
      arguments: LONG,
      rule: { reason: { approve: 'required', deny: 'required' } },
    });
    const ana = t.person('U0ANA');
    await ana.click(message, 'cs_review');
    const { page } = await lastPage('U0ANA', await ana.waitForView());
    await ana.submit(page, { cs_reason: 'read all of it' });
    const card = await t.cardSaying(sealed.terms.id, 'Approved');
    expect(seenIn(card.blocks)).toContain('read all of it');
  });

  it('says so where it was settled while somebody was reading', async () => {
    const { sealed, message } = await t.card({
      arguments: LONG,
      rule: { reason: { approve: 'none', deny: 'none' } },
    });
    const ana = t.person('U0ANA');
    await ana.click(message, 'cs_review');
    const first = await ana.waitForView();
    await t.person('U0BEN').click(message, 'cs_deny');
    await expect.poll(() => t.status(sealed.terms.id)).toBe('denied');
    await ana.click(first, 'cs_review_next');
    const notice = await ana.waitForView((view) => view.hash !== first.hash);
    expect(seenIn(notice.blocks)).toBe(REFUSAL_NOTICES.already_settled);
  });
});

function privateMetadata(body: unknown): string {
  const { view } = body as { view: string | { private_metadata: string } };
  return (typeof view === 'string' ? (JSON.parse(view) as { private_metadata: string }) : view)
    .private_metadata;
}
