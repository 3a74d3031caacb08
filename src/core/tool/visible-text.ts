import type { JsonValue } from './strict-json.ts';

export interface VisibleText {
  readonly text: string;
  /** How many characters of the original cannot be seen, or pile up on others, and are written out here. */
  readonly invisible: number;
  /** How many runs are replaced by a count. */
  readonly collapsed: number;
}

const MOST_NEWLINES = 3;
const MOST_SPACES = 40;
const MOST_MARKS = 4;
const MOST_REPEATS = 8;

/**
 * Controls but \n and \t, format characters (bidi, zero-width, tags), everything that Unicode calls default-ignorable
 * (variation selectors, fillers), line separators, private and unassigned code points, lone surrogates, the Braille
 * blank, which is none of these and draws nothing, and spaces other than those that ordinary writing uses.
 */
const UNSEEN =
  '(?![\\n\\t \\u00a0\\u202f\\u3000])' +
  '[\\p{Cc}\\p{Cf}\\p{Default_Ignorable_Code_Point}\\p{Zl}\\p{Zp}\\p{Zs}\\p{Co}\\p{Cn}\\p{Cs}\\u2800]';

const PIECES = new RegExp(
  [
    // Blank lines that hold spaces push a card apart just as empty ones do.
    `(?<newlines>(?:[\\p{Zs}\\t]*\\n){${MOST_NEWLINES + 1},})`,
    `(?<spaces>[\\p{Zs}\\t]{${MOST_SPACES + 1},})`,
    `(?<marks>\\p{M}{${MOST_MARKS + 1},})`,
    `(?<unseen>(?<one>${UNSEEN})\\k<one>*)`,
    // Our own notation, written by the agent: spelled so that it cannot pass for ours. The bracket opens every notice
    // of ours, here and on the card, and no other text.
    '(?<backslash>\\\\(?=u\\{))',
    '(?<bracket>⟨)',
  ].join('|'),
  'gu',
);

/**
 * Text that an agent wrote, as a person must see it. What is not drawn is written `\u{202E}`, long runs become
 * `⟨×120 newlines⟩`, and a text that already contains these notations is told apart from one that earned them.
 */
export function visibleText(text: string): VisibleText {
  return show(text, { backslashesAreDoubled: false });
}

function show(text: string, { backslashesAreDoubled }: { backslashesAreDoubled: boolean }): VisibleText {
  let invisible = 0;
  let collapsed = 0;
  const shown = text.replace(PIECES, (...match) => {
    const piece: string = match[0];
    const as: Pieces = match.at(-1);
    if (as.newlines !== undefined) {
      collapsed += 1;
      return `\n⟨×${piece.split('\n').length - 1} newlines⟩\n`;
    }
    if (as.spaces !== undefined) {
      collapsed += 1;
      return `⟨×${piece.length} ${/^ +$/.test(piece) ? 'spaces' : 'blanks'}⟩`;
    }
    if (as.backslash !== undefined) return backslashesAreDoubled ? piece : escaped(piece);
    if (as.bracket !== undefined) return escaped(piece);
    const points = [...piece];
    invisible += points.length;
    if (points.length > MOST_REPEATS && points.every((point) => point === points[0])) {
      collapsed += 1;
      return `${escaped(points[0] ?? '')}⟨×${points.length}⟩`;
    }
    return points.map(escaped).join('');
  });
  return { text: shown, invisible, collapsed };
}

type Pieces = { readonly [kind in 'newlines' | 'spaces' | 'backslash' | 'bracket']: string | undefined };

const escaped = (point: string) => `\\u{${(point.codePointAt(0) ?? 0).toString(16).toUpperCase()}}`;

/**
 * At most `maxCodePoints` code points, the notice of what is missing included; `cut` is how many of the original's code
 * points are not in it, 0 where it is whole. Never splits a character in two.
 */
export function cutLoudly(
  text: string,
  maxCodePoints: number,
): { readonly text: string; readonly cut: number } {
  const points = [...text];
  if (points.length <= maxCodePoints) return { text, cut: 0 };
  const notice = cutNotice(points.length);
  const kept = Math.max(0, maxCodePoints - (notice.length < maxCodePoints ? notice.length : 1));
  const cut = points.length - kept;
  const mark = notice.length < maxCodePoints ? cutNotice(cut) : '…';
  return { text: maxCodePoints < 1 ? '' : points.slice(0, kept).join('') + mark, cut };
}

const cutNotice = (cut: number) => `…⟨cut: ${cut} more characters⟩`;

/** One line, at most 60 characters, nothing unseen: for naming a value in a message. */
export function brief(text: string): string {
  return cutLoudly(
    visibleText(text.slice(0, 240)).text.replaceAll('\n', '\\u{A}').replaceAll('\t', '\\u{9}'),
    60,
  ).text;
}

/** Line ends and everything that a terminal acts on, that reorders what is shown, or that is not shown. */
const ACTING = /(?!\n$)[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\p{Zl}\p{Zp}]/gu;

/** JSON for terminals and logs: one line, and the same value to every reader of JSON. */
export function jsonLine(value: unknown): string {
  return escapedJson(JSON.stringify(value));
}

/** The same JSON text, with a newline at its end where there was one. Outside of strings JSON has no such characters. */
export function escapedJson(json: string): string {
  return json.replace(ACTING, (point) =>
    Array.from(
      { length: point.length },
      (_, i) => `\\u${point.charCodeAt(i).toString(16).padStart(4, '0')}`,
    ).join(''),
  );
}

/**
 * Arguments for people. One key a line, keys in canonical order. A text of several lines stands in a gutter, so that
 * none of its lines can pass for a key, a bracket, or anything that we say.
 */
export function prettyArguments(value: JsonValue): string {
  return pretty(value, '');
}

function pretty(value: JsonValue, indent: string): string {
  if (typeof value === 'string') return prettyText(value, indent);
  if (value === null || typeof value !== 'object') return String(value);
  const inner = `${indent}  `;
  if (isList(value))
    return block(
      '[',
      value.map((item) => inner + pretty(item, inner)),
      `${indent}]`,
    );
  const members = Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => `${inner}${quoted(key)}: ${pretty(member, inner)}`);
  return block('{', members, `${indent}}`);
}

const isList = (value: JsonValue): value is readonly JsonValue[] => Array.isArray(value);

/** No comma after a gutter: it would read as the last character of the agent's text. */
function block(open: string, parts: readonly string[], close: string): string {
  if (parts.length === 0) return open + close.trim();
  const lines = parts.map((part, index) => {
    const endsInGutter = part
      .slice(part.lastIndexOf('\n') + 1)
      .trimStart()
      .startsWith(GUTTER);
    return index === parts.length - 1 || endsInGutter ? part : `${part},`;
  });
  return [open, ...lines, close].join('\n');
}

const GUTTER = '│ ';

function prettyText(text: string, indent: string): string {
  if (!text.includes('\n')) return quoted(text);
  const lines = visibleText(text).text.split('\n');
  const count = text.split('\n').length;
  return [`(text, ${count} lines)`, ...lines.map((line) => `${indent}  ${GUTTER}${line}`)].join('\n');
}

function quoted(text: string): string {
  const json = text.replace(/["\\]/g, '\\$&');
  const shown = show(json, { backslashesAreDoubled: true }).text;
  return `"${shown.replaceAll('\n', '\\n').replaceAll('\t', '\\t')}"`;
}

const WORD = /[\p{L}\p{M}\p{N}]+/gu;
const MOST_WORDS = 20;

/** Words that mix Latin letters with Cyrillic or Greek ones, each once: a hint for people, never a verdict. */
export function mixedScripts(text: string): string[] {
  const mixed = (text.match(WORD) ?? []).filter(
    (word) => /\p{Script=Latin}/u.test(word) && /[\p{Script=Cyrillic}\p{Script=Greek}]/u.test(word),
  );
  return [...new Set(mixed)].slice(0, MOST_WORDS);
}
