import type { ShownPreview } from '../core/proposal/preview.ts';
import { type Digest, digestOf, shortDigest } from '../core/tool/digest.ts';
import { visibleText } from '../core/tool/visible-text.ts';
import { jsonBytes } from './arguments-text.ts';
import {
  type CardView,
  deadlineBlocks,
  factsBlock,
  PREVIEW_FAILED,
  PREVIEW_TITLE,
  previewCut,
  readingNotes,
  readingOf,
  whyText,
} from './card.ts';
import { CHANGES_TITLE, changesText, editedLine } from './edit-card.ts';
import { REVIEW_PAGE } from './limits.ts';
import { asWritten, type KnownBlock, ourNote, ourSection } from './wording.ts';

/** A call shown whole, on as many pages as it takes. */
export interface Review {
  /** Each page's blocks, without the controls that lead to the others. */
  readonly pages: readonly (readonly KnownBlock[])[];
  /** SHA-256 over all pages. */
  readonly shown: Digest;
}

/** Undefined where the arguments cannot be shown at all (the tool is not known here). */
export function drawReview(view: CardView): Review | undefined {
  const reading = readingOf(view);
  if (reading === undefined) return undefined;
  const { statedReason, edits } = view.terms;
  const first: KnownBlock[] = [factsBlock(view), ...deadlineBlocks(view.terms), ourNote(whyText(view.terms))];
  if (edits !== undefined) first.push(ourSection(editedLine(edits, view.team)));
  const texts = [
    ...(statedReason === undefined
      ? []
      : parts(visibleText(statedReason).text).map((part) => ({ part, of: 'reason' as const }))),
    ...(edits === undefined
      ? []
      : parts(changesText(edits, view.terms.arguments)).map((part) => ({ part, of: 'changes' as const }))),
    ...parts(reading.full).map((part) => ({ part, of: 'arguments' as const })),
    ...(view.preview?.kind !== 'text'
      ? []
      : parts(visibleText(view.preview.text).text).map((part) => ({ part, of: 'preview' as const }))),
  ];
  const pages = texts.map(({ part, of }, index) => [
    ...(index === 0 ? first : []),
    ...(of === 'arguments' && part.first ? readingNotes(reading) : []),
    ourSection(titleOf(of, part)),
    ...(part.midLine ? [ourNote('This page begins in the middle of a line of the page before.')] : []),
    asWritten(part.text),
    ...(index === texts.length - 1 ? previewEnd(view.preview) : []),
    ourNote(`Digest ${shortDigest(view.termsDigest)} · ${view.terms.id}`),
  ]);
  return { pages, shown: digestOf('review', JSON.stringify(pages)) };
}

function previewEnd(preview: ShownPreview | undefined): KnownBlock[] {
  if (preview === undefined) return [];
  return preview.kind === 'failed' ? [ourNote(PREVIEW_FAILED)] : previewCut(preview);
}

const TITLES = {
  reason: '*The agent says* (its own words, not checked by anybody)',
  arguments: '*Arguments*',
  preview: PREVIEW_TITLE,
  changes: CHANGES_TITLE,
} as const;

function titleOf(of: keyof typeof TITLES, part: Part): string {
  return part.first ? TITLES[of] : `${TITLES[of]}, continued`;
}

interface Part {
  readonly text: string;
  readonly first: boolean;
  readonly midLine: boolean;
}

/** Cut at the ends of lines where that is possible, and never inside a character. Together they are the text. */
function parts(text: string): Part[] {
  const all: Part[] = [];
  let page = '';
  let [bytes, lines, midLine] = [0, 0, false];
  const turn = (nextMidLine: boolean) => {
    all.push({ text: page, first: all.length === 0, midLine });
    page = '';
    [bytes, lines, midLine] = [0, 0, nextMidLine];
  };
  const add = (piece: string, cost: number) => {
    page += piece;
    bytes += cost;
  };
  for (const line of text.split(/(?<=\n)/)) {
    const cost = jsonBytes(line);
    if (page !== '' && (bytes + cost > REVIEW_PAGE.bytes || lines >= REVIEW_PAGE.lines)) turn(false);
    lines += 1;
    if (cost <= REVIEW_PAGE.bytes) {
      add(line, cost);
      continue;
    }
    for (const point of line) {
      const pointCost = jsonBytes(point);
      if (bytes + pointCost > REVIEW_PAGE.bytes) turn(true);
      add(point, pointCost);
    }
  }
  if (page !== '' || all.length === 0) turn(false);
  return all;
}
