import { expect } from 'vitest';
import { z } from 'zod';
import { editableArguments } from '../../src/core/approval/editable-arguments.ts';
import { patternOf } from '../../src/core/grant/argument-pattern.ts';
import type { ShownPreview } from '../../src/core/proposal/preview.ts';
import { EditTerms } from '../../src/core/proposal/proposal-terms.ts';
import { canonicalJson } from '../../src/core/tool/canonical-json.ts';
import type { JsonValue } from '../../src/core/tool/strict-json.ts';
import { defineTool } from '../../src/core/tool/tool.ts';
import { checkBlocks, type Surface } from '../../src/sandbox/slack/block-check.ts';
import { batchModal, listModal } from '../../src/slack/batch-review.ts';
import { ACTIONS, type CardView, drawCard } from '../../src/slack/card.ts';
import { editModal } from '../../src/slack/edit-modal.ts';
import { confirmModal } from '../../src/slack/grant-form.ts';
import { drawGrantTerms } from '../../src/slack/grant-terms.ts';
import { drawHome } from '../../src/slack/home.ts';
import { CARD_BUDGET, REVIEW_PAGE, SLACK_LIMITS } from '../../src/slack/limits.ts';
import { drawListed } from '../../src/slack/listed-call.ts';
import { reviewModal } from '../../src/slack/modals.ts';
import { REFUSAL_NOTICES } from '../../src/slack/notices.ts';
import { drawReview } from '../../src/slack/review.ts';
import { whyBlocks } from '../../src/slack/switch-wording.ts';
import { untold } from '../../src/slack/thread-log.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { ANA, type TermsOverrides } from '../sealed-terms.ts';
import { everyState, seenIn, TEAM, termsFor, textsIn, viewFor } from '../slack/card-views.ts';
import { type ClickPayload, surfaceForTests } from '../slack/surface-for-tests.ts';
import { type AttackCase, attackRow } from './attack-row.ts';

/**
 * Whoever gets a text before the eyes of an approver: an agent by its arguments and its reason, a tool by its preview and
 * its answer, a person by what they type. Each text is drawn on everything that Countersign draws.
 */

/** In every text below, so that it is known wherever it turns up. */
const MARK = 'EVIL';
const RULE = {
  edit: { editorMayApprove: true },
  grants: { maxUses: 5, forMs: 3_600_000 },
  quorum: 3,
} as const;

const noteTool = defineTool({
  name: 'ticket.close',
  description: 'Closes.',
  input: z.strictObject({ note: z.unknown() }),
  execute: () => null,
});

interface Drawn {
  readonly name: string;
  readonly surface: Surface;
  readonly blocks: readonly unknown[];
  /** What screen readers and notifications get. */
  readonly text?: string;
}

/** Everything that is drawn of a call while it waits. */
function drawnOf(view: CardView): Drawn[] {
  const { terms } = view;
  const card = drawCard(view);
  const subject = { tool: terms.tool, tenant: terms.context.tenant, environment: terms.context.environment };
  const memory = { proposal: terms.id, shown: card.shown };
  const review = drawReview(view);
  const pages = (review?.pages ?? []).map((_, page) => {
    if (review === undefined) throw new Error('no review');
    return reviewModal(review, { ...memory, page }, subject, 'optional').blocks;
  });
  const call = { id: terms.id, listed: drawListed(view), alone: undefined };
  const place = { agent: terms.context.agent, tenant: terms.context.tenant, memory: 'm' };
  const waiting = [{ proposal: terms.id, card, link: undefined }];
  const home = {
    kind: 'inbox',
    writes: '*On.*',
    why: undefined,
    waiting,
    unchecked: false,
    recent: [],
  } as const;
  const batch = { decision: 'approve', calls: [call], leftOut: [], reason: 'none', memory: 'm' } as const;
  const form = editableArguments(terms, []);
  return [
    { name: 'the card', surface: 'message', blocks: card.blocks, text: card.text },
    ...pages.map(
      (blocks, page): Drawn => ({ name: `page ${page + 1} of the review`, surface: 'modal', blocks }),
    ),
    {
      name: 'the list',
      surface: 'modal',
      blocks: listModal({ ...place, calls: [call], page: 0, pages: 1, count: 1, unreadable: 0 }).blocks,
    },
    { name: 'the batch', surface: 'modal', blocks: batchModal(batch).blocks },
    { name: 'the Home tab', surface: 'home', blocks: drawHome(home, { page: 0 }).blocks },
    ...(form === undefined
      ? []
      : [
          {
            name: 'the form to change it',
            surface: 'modal' as const,
            blocks: editModal(memory, subject, { text: form, editorMayApprove: false }).blocks,
          },
        ]),
    ...grantOf(view),
  ];
}

function grantOf({ terms }: CardView): Drawn[] {
  const pattern = patternOf(JSON.parse(terms.arguments) as JsonValue, new Set());
  if (pattern === undefined) return [];
  const { tenant, environment, agent, principal } = terms.context;
  const scope = {
    tool: terms.tool,
    tenant,
    environment,
    agent,
    principal,
    pattern,
    maxUses: 3,
    lifeMs: 60_000,
  };
  const sight = drawGrantTerms(scope, noteTool, TEAM);
  if (sight === undefined) return [];
  const wish = { uses: 3, lifeMs: 60_000, free: [], shown: sight.shown };
  const memory = { proposal: terms.id, shown: sight.shown, wish };
  return [{ name: 'the grant', surface: 'modal', blocks: confirmModal(memory, sight, 'none').blocks }];
}

const UNSEEN =
  /(?![\n\t ])[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\p{Zl}\p{Zp}\p{Co}\p{Cn}\p{Cs}\u2800]/u;

/** What holds of everything that is drawn, whatever the texts in it are. */
function nothingEscapes(drawn: readonly Drawn[]): void {
  for (const { name, surface, blocks, text = '' } of drawn) {
    const checked = checkBlocks(blocks, surface, () => 'generated');
    expect(checked.ok ? [] : checked.problems, name).toEqual([]);
    expect(text, name).not.toContain(MARK);
    // Slack parses nothing in the text of a preformatted element; everywhere else stands our own word.
    const ours = textsIn(blocks).filter(({ kind }) => kind !== 'text');
    expect(
      ours.filter((one) => one.text.includes(MARK)),
      name,
    ).toEqual([]);
    for (const one of textsIn(blocks)) expect(one.text, name).not.toMatch(UNSEEN);
    for (const kind of kindsIn(blocks.filter(isRichText))) {
      expect(['rich_text', 'rich_text_preformatted', 'text'], name).toContain(kind);
    }
    const json = JSON.stringify(blocks);
    expect(json, name).not.toMatch(/"emoji":true|"type":"(?:markdown|image)"/);
    // No text is longer than leaves the buttons below it in sight.
    expect(
      Math.max(...preformattedIn(blocks).map((one) => one.split('\n').length), 0),
      name,
    ).toBeLessThanOrEqual(surface === 'modal' ? REVIEW_PAGE.lines + 1 : CARD_BUDGET.argumentLines);
  }
}

const isRichText = (block: unknown) => (block as { type: string }).type === 'rich_text';

function kindsIn(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(kindsIn);
  if (typeof value !== 'object' || value === null) return [];
  const { type, ...rest } = value as { type?: string };
  return [...(type === undefined ? [] : [type]), ...kindsIn(Object.values(rest))];
}

const preformattedIn = (blocks: readonly unknown[]) =>
  textsIn(blocks.filter(isRichText)).map(({ text }) => text);

/** Whole and approvable, or cut and not: then Review is there, and its last page alone approves. */
function wholeOrNotApprovable(view: CardView): void {
  const card = drawCard(view);
  const buttons = JSON.stringify(card.blocks.at(-1));
  // The buttons are the last of the card, and the card is no longer than a screen or two.
  expect(buttons).toContain(ACTIONS.deny);
  expect(buttons.includes(`"${ACTIONS.approve}"`)).toBe(!card.needsReview);
  expect(Buffer.byteLength(JSON.stringify(card.blocks))).toBeLessThanOrEqual(CARD_BUDGET.jsonBytes);
  expect(card.blocks.length).toBeLessThanOrEqual(SLACK_LIMITS.messageBlocks);
  if (card.needsReview) {
    expect(buttons).toContain(ACTIONS.review);
    expect(seenIn(card.blocks)).toMatch(/⟨cut: \d+ more|fit here: press Review/);
    expect(seenIn(card.blocks)).toContain('approving is possible only there');
  } else {
    const all = reviewText(view);
    for (const text of preformattedIn(card.blocks)) expect(all).toContain(text);
  }
}

/** Everything that the pages of the review show, as one text. */
const reviewText = (view: CardView) =>
  (drawReview(view)?.pages ?? []).map((page) => preformattedIn(page).join('')).join('');

type Payload = readonly [what: string, text: string, shown: string];

const payloads: readonly Payload[] = [
  ['a flood of newlines', `${MARK}${'\n'.repeat(1_900)}the end`, '⟨×1900 newlines⟩'],
  ['lines of blanks', `${MARK}${' \t\n'.repeat(600)}the end`, 'newlines⟩'],
  ['a flood of short lines', `${'x\n'.repeat(900)}${MARK} end`, `${MARK} end`],
  ['a flood of spaces', `${MARK}${' '.repeat(1_900)}the end`, '⟨×1900 spaces⟩'],
  ['a flood of wide blanks', `${MARK}${'\u3000\u00a0'.repeat(600)}the end`, '⟨×1200 blanks⟩'],
  ['the point at the very end', `${'word '.repeat(380)}${MARK} end`, `${MARK} end`],
  ['letters of four bytes', `${'😀'.repeat(900)}${MARK} end`, `${MARK} end`],
  ['bold, italics, strikes, quotes', `*${MARK}* _x_ ~y~\n>quoted`, `*${MARK}*`],
  ['a mention of the channel', `<!channel> <!here> <!everyone> @channel ${MARK}`, '<!channel> <!here>'],
  ['a mention of a person', `<@U0ANA> approved this ${MARK}`, '<@U0ANA> approved'],
  ['a mention of a group', `<!subteam^S0ONCALL> <#C0ACMEAPP|general> ${MARK}`, '<!subteam^S0ONCALL>'],
  ['a link with a label', `<https://evil.example/${MARK}|Approve>`, `<https://evil.example/${MARK}|Approve>`],
  ['a link of Markdown', `[Approve](https://evil.example/${MARK})`, '[Approve](https'],
  ['a date of Slack', `<!date^0^{date}|${MARK}>`, '<!date^0^{date}'],
  ['an emoji by name', `:white_check_mark: ${MARK}`, ':white_check_mark:'],
  ['a fence', `\`\`\`\n*${MARK}*\n\`\`\``, '```'],
  ['escapes of Slack', `&lt;!channel&gt; ${MARK}`, '&lt;!channel&gt;'],
  ['an override of the direction', `${MARK}\u202Efdp.exe`, `${MARK}\\u{202E}fdp.exe`],
  [
    'isolates and marks of direction',
    `\u2066${MARK}\u2069\u200f\u061c`,
    `\\u{2066}${MARK}\\u{2069}\\u{200F}\\u{61C}`,
  ],
  [
    'zero-width letters',
    `EV\u200bIL ${MARK}\u200d\u2060\ufeff`,
    `EV\\u{200B}IL ${MARK}\\u{200D}\\u{2060}\\u{FEFF}`,
  ],
  ['Unicode tags', `${MARK}\u{e0041}\u{e007f}`, `${MARK}\\u{E0041}\\u{E007F}`],
  ['variation selectors', `${MARK}\ufe0f\u{e0100}`, `${MARK}\\u{FE0F}\\u{E0100}`],
  ['combining marks in a pile', `${MARK}e${'\u0301'.repeat(900)}`, 'e\\u{301}⟨×900⟩'],
  [
    'fillers that draw nothing',
    `${MARK}\u3164\u115f\uffa0\u2800`,
    `${MARK}\\u{3164}\\u{115F}\\u{FFA0}\\u{2800}`,
  ],
  ['controls', `${MARK}\u0000\u0007\u001b[2J\u009b`, `${MARK}\\u{0}\\u{7}\\u{1B}[2J\\u{9B}`],
  ['a carriage return', `harmless\r${MARK}`, `harmless\\u{D}${MARK}`],
  ['separators of lines', `${MARK}\u2028x\u2029y\u0085z`, `${MARK}\\u{2028}x\\u{2029}y\\u{85}z`],
  ['look-alikes of our words', `Аpprоved by Аna ${MARK}`, 'Аpprоved by Аna'],
  [
    'our words',
    `\nApproved by Ana ${MARK}\n*Approved* 31 Jan. It has to start before 1 Feb.`,
    `Approved by Ana ${MARK}`,
  ],
  ['our digest', `Digest abcd ef01 2345 · prop_00${'0'.repeat(24)} ${MARK}`, 'Digest abcd ef01'],
  [
    'our notices',
    `⟨redacted by the tool's definition⟩ ⟨cut: 3 more characters⟩ ${MARK}`,
    '\\u{27E8}redacted',
  ],
  ['our notation', `\\u{202E}${MARK} ⟨×120 newlines⟩`, '\\u{27E8}×120'],
  ['our heading', `*Arguments* (shown whole)\n{ "${MARK}": 1 }`, '*Arguments* (shown whole)'],
  ['our buttons', `[ Approve ]   [ Deny ] ${MARK}`, '[ Approve ]   [ Deny ]'],
  ['our gutter and the end of the arguments', `a\n}\n│ ${MARK}\n"tenant": "globex"`, `│ ${MARK}`],
];

/** Where a text gets in while a call waits, and what the view is then. */
const carriers: readonly (readonly [where: string, view: (text: string) => CardView])[] = [
  ['an argument', (text) => viewFor(termsFor({ arguments: { note: text }, rule: RULE }))],
  ['an argument in a list', (text) => viewFor(termsFor({ arguments: { note: [{ a: text }] }, rule: RULE }))],
  ['the reason', (text) => viewFor(termsFor({ arguments: { note: 'T-1' }, statedReason: text, rule: RULE }))],
  ['the preview', (text) => previewed({ kind: 'text', text, cut: 0 })],
];

function previewed(preview: ShownPreview): CardView {
  return { ...viewFor(termsFor({ arguments: { note: 'T-1' } })), preview };
}

const inEveryPlace = payloads.flatMap(([what, text, shown]) =>
  carriers.map(
    ([where, view]): AttackCase => [
      `[display:nothing-hidden] ${what}, in ${where}`,
      () => {
        const drawn = view(text);
        nothingEscapes(drawnOf(drawn));
        wholeOrNotApprovable(drawn);
        // In quotes a quote or a backslash of the agent's has a backslash before it.
        expect(reviewText(drawn).replaceAll(/\\(["\\])/g, '$1')).toContain(shown);
      },
    ],
  ),
);

/** What people type, and what a tool answers, is drawn once a call is settled, and while others still decide. */
const afterwards = payloads.map(
  ([what, text]): AttackCase => [
    `[display:agent-text-is-data] ${what}, in a person’s reason and in a tool’s answer`,
    () => {
      const sealed = termsFor({ arguments: { note: 'T-1' }, rule: { quorum: 3 } });
      for (const state of everyState(sealed, text)) {
        const view = viewFor(sealed, state);
        const { blocks, text: summary } = drawCard(view);
        const lines = untold(view, []).map(({ line }) => line);
        nothingEscapes([
          { name: state.status, surface: 'message', blocks, text: `${summary} ${lines.join(' ')}` },
        ]);
        expect(Buffer.byteLength(JSON.stringify(blocks))).toBeLessThanOrEqual(CARD_BUDGET.jsonBytes);
      }
      const why: Drawn = { name: 'why it is off', surface: 'home', blocks: whyBlocks(text) };
      nothingEscapes([why]);
    },
  ],
);

const shownWhole =
  (args: JsonValue, ...parts: string[]) =>
  () => {
    const view = viewFor(termsFor({ arguments: args, rule: RULE }));
    nothingEscapes(drawnOf(view));
    wholeOrNotApprovable(view);
    for (const part of parts) expect(reviewText(view)).toContain(part);
  };

let deep: JsonValue = `${MARK} below`;
for (let i = 0; i < 15; i += 1) deep = { a: deep };

const shapes: readonly AttackCase[] = [
  [
    'a key that ends its quotes',
    shownWhole({ [`${MARK}": 1, "amount`]: 2 }, `"${MARK}\\": 1, \\"amount": 2`),
  ],
  [
    'a key that is our heading',
    shownWhole({ [`${MARK} *Arguments* (shown whole)`]: 1 }, '(shown whole)": 1'),
  ],
  ['a key that mentions the channel', shownWhole({ [`<!channel> ${MARK}`]: 1 }, '"<!channel>')],
  ['a key that runs backwards', shownWhole({ [`${MARK}\u202e`]: 1 }, `"${MARK}\\u{202E}": 1`)],
  [
    'a twin of a key, with a letter that nobody sees',
    shownWhole({ amount: 1, 'amo\u200bunt': 999 }, '"amo\\u{200B}unt": 999'),
  ],
  [
    'a twin of a key in Cyrillic',
    () => {
      const view = viewFor(termsFor({ arguments: { amount: 1, аmount: 999 } }));
      expect(seenIn(drawCard(view).blocks)).toContain('1 word mixes letters of different alphabets');
    },
  ],
  [
    'keys as long as they may be',
    shownWhole(
      Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`${MARK}${i}`.padEnd(64, 'k'), i])),
      `"${`${MARK}59`.padEnd(64, 'k')}": 59`,
    ),
  ],
  [
    'two hundred keys, the one that matters last',
    shownWhole(
      { ...Object.fromEntries(Array.from({ length: 199 }, (_, i) => [`k${i}`, i])), zz: MARK },
      `"zz": "${MARK}"`,
    ),
  ],
  ['the value far below', shownWhole(deep, `"${MARK} below"`)],
  [
    'the value behind 3,000 others',
    shownWhole({ list: [...Array.from({ length: 3_000 }, () => 1), MARK] }, `"${MARK}"`),
  ],
  [
    'a number that is cut in the middle',
    shownWhole({ a: 'x'.repeat(6_000), amount: 100_000_000 }, '"amount": 100000000'),
  ],
  [
    'a file’s name that runs backwards',
    shownWhole({ file: `${MARK}\u202Efdp.exe` }, `"${MARK}\\u{202E}fdp.exe"`),
  ],
  [
    'an argument that says that it is secret',
    () => {
      const args = { note: "⟨redacted by the tool's definition⟩", pin: '1234' };
      const view = viewFor(termsFor({ arguments: args }), undefined, ['pin']);
      const seen = seenIn(drawCard(view).blocks);
      expect(seen).toContain('"note": "\\u{27E8}redacted');
      expect(seen).toContain('"pin": ⟨redacted');
      expect(seen).toContain('1 argument is not shown');
    },
  ],
  [
    'a person’s reason that goes on as another person’s',
    () => {
      const sealed = termsFor({ rule: { quorum: 3 } });
      const state = everyState(sealed, `fine\n2. ${MARK} Ana: fine too`)[1];
      const lines = preformattedIn(drawCard(viewFor(sealed, state)).blocks)
        .join('\n')
        .split('\n');
      expect(lines.filter((line) => /^\d+\. /.test(line))).toEqual(['1. fine', '2. fine']);
    },
  ],
  [
    'a change that reads as another one',
    () => {
      const was = { note: 'a', sum: 1 };
      const edits = (is: JsonValue) => {
        const before = termsFor({ arguments: was });
        const { terms } = termsFor({ arguments: is });
        return EditTerms.parse({
          from: terms.id,
          arguments: before.terms.arguments,
          by: ANA,
          editors: [ANA],
        });
      };
      const is = { note: `a\nsum: 1 → 1 ${MARK}`, sum: 999 };
      const sealed = termsFor({ arguments: is });
      const view = viewFor({ ...sealed, terms: { ...sealed.terms, edits: edits(is) } });
      nothingEscapes(drawnOf(view));
      const changes = preformattedIn(drawCard(view).blocks)[0] ?? '';
      expect(changes.split('\n')).toEqual([`note: a → "a\\nsum: 1 → 1 ${MARK}"`, 'sum: 1 → 999']);
    },
  ],
  [
    'letters in the form to change it that nobody sees',
    () => {
      const args = { note: `${MARK}\u202e\u200b` };
      const { terms } = termsFor({ arguments: args, rule: RULE });
      const form = editableArguments(terms, []) ?? '';
      expect(form).toContain(`${MARK}\\u202e\\u200b`);
      expect(canonicalJson(JSON.parse(form) as JsonValue)).toBe(terms.arguments);
    },
  ],
  [
    'a grant that does not fit on its form',
    () => {
      const view = viewFor(termsFor({ arguments: { note: 'x'.repeat(7_500) }, rule: RULE }));
      expect(grantOf(view)).toEqual([]);
    },
  ],
  [
    'a preview that leaves no room for the arguments',
    () => {
      const view = previewed({ kind: 'text', text: `${MARK} `.repeat(1_600), cut: 7 });
      nothingEscapes(drawnOf(view));
      expect(seenIn(drawCard(view).blocks)).toContain('"note": "T-1"');
      expect(drawCard(view).needsReview).toBe(true);
    },
  ],
].map(([what, run]) => [`[display:agent-text-is-data] ${what}`, run] as AttackCase);

const redis = redisForTests({ emptied: 'once' });
const t = surfaceForTests('socket', redis, { shared: true });
const noReasons = { reason: { approve: 'none', deny: 'none' } } as const;

/** The cases before take longer than a permit lives. */
async function cardOf(given: Partial<TermsOverrides>) {
  await t.writeSwitch.renewPermits();
  return t.card({ ...given, rule: noReasons });
}

/** A click on Approve that no card offered. */
const approvesBlindly = (given: Partial<TermsOverrides>) => async () => {
  const { sealed, message } = await cardOf(given);
  expect(JSON.stringify(message.blocks)).not.toContain('cs_approve"');
  const ana = t.person('U0ANA');
  await ana.click(message, 'cs_review');
  await ana.closeView(await ana.waitForView());
  const seen = (await t.refusals()).length;
  await t.resend((payload: ClickPayload) => {
    for (const action of payload.actions) action.action_id = 'cs_approve';
  });
  await expect.poll(async () => (await t.refusals()).slice(seen)).toEqual(['not_shown_whole']);
  await t.told('U0ANA', REFUSAL_NOTICES.not_shown_whole);
  expect(await t.status(sealed.terms.id)).toBe('pending');
};

const clicks: readonly AttackCase[] = [
  [
    'a click on Approve where the arguments are cut',
    approvesBlindly({ arguments: { note: `${'x\n'.repeat(900)}${MARK}` } }),
  ],
  [
    'a click on Approve where the agent’s reason is cut',
    approvesBlindly({ statedReason: `${'because '.repeat(200)}${MARK}` }),
  ],
].map(([what, run]) => [`[display:nothing-hidden] ${what}`, run] as AttackCase);

/** As it was written, on a card that can be approved at once. */
const asItIs = (text: string) => () => {
  const view = viewFor(termsFor({ arguments: { note: text }, statedReason: text }));
  const card = drawCard(view);
  expect(card.needsReview).toBe(false);
  const [reason, args] = preformattedIn(card.blocks);
  expect(reason).toBe(text);
  for (const line of text.split('\n')) expect(args).toContain(line);
  expect(seenIn(card.blocks)).not.toContain('Look closely');
};

const twins: AttackCase[] = [
  ['two paragraphs', asItIs('Dear Ana,\n\nthe ticket is closed.\n\nBen')],
  ['accents, other alphabets and emoji', asItIs('Größe, naïve, Ελληνικά, Русский, עברית, 日本語, 😀👍🏽🇩🇪')],
  ['an address and a sum', asItIs('See https://help.example.com/a?id=7 for 100,00 €')],
  ['a few blanks', asItIs('a     b')],
  ['an asterisk and a mail address', asItIs('5 * 3 = 15, ask ana@example.com')],
  [
    'a small call, approved by one click on the card',
    async () => {
      const { sealed, message } = await cardOf({ arguments: { note: 'Approved by Ana <!channel>' } });
      await t.person('U0ANA').click(message, 'cs_approve');
      await expect.poll(() => t.status(sealed.terms.id)).toBe('approved');
    },
  ],
  [
    'a large call, approved on the last page of its review',
    async () => {
      const { sealed, message } = await cardOf({ arguments: { note: 'word '.repeat(1_500) } });
      const ana = t.person('U0ANA');
      await ana.click(message, 'cs_review');
      let page = await ana.waitForView();
      while (page.submit === undefined) {
        const { hash } = page;
        await ana.click(page, 'cs_review_next');
        page = await ana.waitForView((view) => view.hash !== hash);
      }
      await ana.submit(page);
      await expect.poll(() => t.status(sealed.terms.id)).toBe('approved');
    },
  ],
];

attackRow(8, { attacks: [...inEveryPlace, ...afterwards, ...shapes, ...clicks], twins });
