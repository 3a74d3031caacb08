import { createHash } from 'node:crypto';
import type { JsonValue } from '../core/tool/strict-json.ts';
import { mixedScripts, prettyArguments, visibleText } from '../core/tool/visible-text.ts';

/** The arguments of a call as people read them, whole or with what is missing said in place. */
export interface ArgumentsText {
  readonly text: string;
  /** False: something is cut, and the text says what and how much. */
  readonly whole: boolean;
}

export interface ArgumentsReading {
  /** Everything but what the tool's definition redacts. */
  readonly full: string;
  /** Paths that the tool's definition redacts and that are there. */
  readonly redacted: readonly string[];
  /** Characters that draw nothing or pile up on others; each is written out in the text. */
  readonly invisible: number;
  /** Runs of blanks and newlines that are replaced by their count. */
  readonly collapsed: number;
  readonly mixedScripts: readonly string[];
  within(budget: { bytes: number; lines: number }): ArgumentsText;
}

const REDACTED = "⟨redacted by the tool's definition⟩";

export function readArguments(
  value: JsonValue,
  canonical: string,
  redact: readonly string[],
): ArgumentsReading {
  // Unforgeable inside the arguments: whoever writes it there changes the digest that it is made of.
  const mark = createHash('sha256').update('countersign/card-mark/v1\n').update(canonical).digest('hex');
  const found: string[] = [];
  const shown = redact.reduce((rest, path) => withoutPath(rest, path, mark, found), value);
  const strings = stringsIn(shown).filter((text) => text !== redactedMark(mark));
  const seen = strings.map(visibleText);
  const full = written(shown, mark);
  return {
    full,
    redacted: found,
    invisible: seen.reduce((sum, text) => sum + text.invisible, 0),
    collapsed: seen.reduce((sum, text) => sum + text.collapsed, 0),
    mixedScripts: mixedScripts(strings.join('\n')),
    within: (budget) => fitted(shown, full, mark, budget),
  };
}

/** What a text costs in the JSON of a message. */
export function jsonBytes(text: string): number {
  return Buffer.byteLength(JSON.stringify(text)) - 2;
}

export function lineCount(text: string): number {
  return text.split('\n').length;
}

/** At most so many bytes and lines, cut at the end of a character, and what is missing said at the end. */
export function cutToBudget(text: string, budget: { bytes: number; lines: number }): ArgumentsText {
  if (fits(text, budget)) return { text, whole: true };
  const points = [...text];
  const notice = (rest: number) => `\n⟨cut: ${rest} more characters⟩`;
  let room = budget.bytes - jsonBytes(notice(points.length));
  let lines = budget.lines - 1;
  let kept = 0;
  for (const point of points) {
    room -= jsonBytes(point);
    if (point === '\n') lines -= 1;
    if (room < 0 || lines < 1) break;
    kept += 1;
  }
  return { text: points.slice(0, kept).join('') + notice(points.length - kept), whole: false };
}

function fits(text: string, budget: { bytes: number; lines: number }): boolean {
  return jsonBytes(text) <= budget.bytes && lineCount(text) <= budget.lines;
}

/** The most that each value may take, tried in turn, so that every key gets a line before any value gets a page. */
const VALUE_BUDGETS = [
  { characters: 600, lines: 8, items: 20 },
  { characters: 200, lines: 4, items: 8 },
  { characters: 80, lines: 2, items: 4 },
  { characters: 24, lines: 1, items: 2 },
] as const;
type ValueBudget = (typeof VALUE_BUDGETS)[number];

function fitted(
  value: JsonValue,
  full: string,
  mark: string,
  budget: { bytes: number; lines: number },
): ArgumentsText {
  if (fits(full, budget)) return { text: full, whole: true };
  let text = full;
  for (const perValue of VALUE_BUDGETS) {
    text = written(shortened(value, perValue, mark), mark);
    if (fits(text, budget)) return { text, whole: false };
  }
  return { text: cutToBudget(text, budget).text, whole: false };
}

/** Marks stand as whole strings, or at the end of one, and become our words only after everything was made visible. */
const redactedMark = (mark: string) => `${mark}-redacted`;
const cutMark = (mark: string, kind: 'characters' | 'items', count: number) => `${mark}-cut-${kind}-${count}`;

function written(value: JsonValue, mark: string): string {
  return prettyArguments(value)
    .replaceAll(`"${redactedMark(mark)}"`, REDACTED)
    .replace(new RegExp(`"${mark}-cut-items-([0-9]+)"`, 'g'), '⟨cut: $1 more items⟩')
    .replace(new RegExp(`${mark}-cut-characters-([0-9]+)`, 'g'), '⟨cut: $1 more characters⟩');
}

function shortened(value: JsonValue, budget: ValueBudget, mark: string): JsonValue {
  if (typeof value === 'string') return shortenedText(value, budget, mark);
  if (value === null || typeof value !== 'object') return value;
  if (isList(value)) {
    const rest = value.length - budget.items;
    const items = value.slice(0, budget.items).map((item) => shortened(item, budget, mark));
    return rest > 0 ? [...items, cutMark(mark, 'items', rest)] : items;
  }
  const entries = Object.entries(value).map(([key, item]) => [key, shortened(item, budget, mark)] as const);
  return Object.fromEntries(entries);
}

function shortenedText(text: string, budget: ValueBudget, mark: string): string {
  if (text === redactedMark(mark)) return text;
  const points = [...text];
  let newlines = 0;
  let kept = 0;
  // What cannot be seen is written out and so takes more room than one character.
  let room: number = budget.characters;
  for (const point of points) {
    room -= jsonBytes(visibleText(point).text);
    if (point === '\n') newlines += 1;
    if (room < 0 || newlines >= budget.lines) break;
    kept += 1;
  }
  if (kept === points.length) return text;
  return points.slice(0, kept).join('') + cutMark(mark, 'characters', points.length - kept);
}

/** A path leads through lists as well: `items.secret` is in each item. */
function withoutPath(value: JsonValue, path: string, mark: string, found: string[]): JsonValue {
  const replaced = replaceAt(value, path.split('.'), redactedMark(mark));
  if (replaced === value) return value;
  found.push(path);
  return replaced;
}

function replaceAt(value: JsonValue, path: readonly string[], by: string): JsonValue {
  const [key, ...rest] = path;
  if (key === undefined) return by;
  if (value === null || typeof value !== 'object') return value;
  if (isList(value)) {
    const items = value.map((item) => replaceAt(item, path, by));
    return items.some((item, index) => item !== value[index]) ? items : value;
  }
  const at = Object.hasOwn(value, key) ? value[key] : undefined;
  if (at === undefined) return value;
  const replaced = replaceAt(at, rest, by);
  return replaced === at ? value : { ...value, [key]: replaced };
}

function stringsIn(value: JsonValue): string[] {
  if (typeof value === 'string') return [value];
  if (value === null || typeof value !== 'object') return [];
  if (isList(value)) return value.flatMap(stringsIn);
  return Object.entries(value).flatMap(([key, item]) => [key, ...stringsIn(item)]);
}

const isList = (value: JsonValue): value is readonly JsonValue[] => Array.isArray(value);
