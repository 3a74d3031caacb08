import { createHash } from 'node:crypto';
import {
  Composer,
  type CST,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type ParsedNode,
  Parser,
  type YAMLError,
} from 'yaml';
import type { z } from 'zod';
import { type LoadedPolicy, Policy, PolicyVersion } from './policy.ts';
import { checkPolicy } from './policy-checks.ts';
import { type PolicyPath, pathLabel } from './policy-path.ts';
import type { PolicyTool } from './policy-tool.ts';
import {
  Damage,
  everyPlace,
  type Located,
  leads,
  locate,
  mend,
  type PolicyChild,
  type PolicyTree,
  plainValue,
} from './policy-tree.ts';

/**
 * From a policy's text to a policy, or to everything that is wrong with it in one run. The text is YAML 1.2 without
 * what makes YAML mean something else than it shows: aliases, anchors, merge keys, tags, directives, a second document,
 * duplicate keys, characters that an editor does not show.
 */

export interface PolicyProblem {
  /** From 1, as editors count. */
  readonly line: number;
  readonly column: number;
  /** `approvals.rules[0].quorum`; empty where the text as a whole is meant. */
  readonly path: string;
  readonly message: string;
}

export type PolicyLoad =
  | ({ readonly ok: true } & LoadedPolicy)
  | { readonly ok: false; readonly problems: readonly PolicyProblem[] };

export interface PolicyLoadOptions {
  /** Every registered tool. Given, each name in the policy must be one of them, and effects are checked too. */
  readonly tools?: Iterable<PolicyTool> | undefined;
}

/** As large as a policy may be. */
export const POLICY_BYTES = 256 * 1024;

const LIMITS = {
  bytes: POLICY_BYTES,
  /** Deeper than any policy, and far from where a recursive reader overflows. */
  depth: 32,
  /** The reader compares each key of a mapping with each other one. */
  keysPerMapping: 2_000,
  problems: 200,
} as const;

export class PolicyInvalidError extends Error {
  override readonly name = 'PolicyInvalidError';
  readonly code = 'policy_invalid';
  readonly problems: readonly PolicyProblem[];

  constructor(problems: readonly PolicyProblem[], fileName: string) {
    super(
      `The policy cannot be used. Correct the following and load it again.\n${formatProblems(problems, fileName)}`,
    );
    this.problems = problems;
  }
}

/** @throws PolicyInvalidError with every problem; `fileName` is only for its message. */
export function loadPolicyOrThrow(
  text: string,
  options: PolicyLoadOptions & { readonly fileName: string },
): LoadedPolicy {
  const load = loadPolicy(text, options);
  if (!load.ok) throw new PolicyInvalidError(load.problems, options.fileName);
  return load;
}

/** One line a problem, `file:line:column path: message`, as editors and terminals make links of. */
export function formatProblems(problems: readonly PolicyProblem[], fileName: string): string {
  return problems
    .map(({ line, column, path, message }) => {
      const subject = path === '' ? '' : `${path}: `;
      return `${fileName}:${line}:${column} ${subject}${message}`;
    })
    .join('\n');
}

export function loadPolicy(text: string, options: PolicyLoadOptions = {}): PolicyLoad {
  const lines = new LineCounter();
  const problems = new Problems(lines);
  const tree = readTree(text, lines, problems);
  if (tree === undefined) return { ok: false, problems: problems.all() };
  const read = readPolicy(tree, problems);
  if (read !== undefined) {
    const { policy, mended, damage } = read;
    const tools =
      options.tools === undefined ? undefined : new Map([...options.tools].map((tool) => [tool.name, tool]));
    for (const { path, message, against } of checkPolicy(policy, tools, damage)) {
      const other = against === undefined ? '' : ` ${problems.place(mended, against)}`;
      problems.atPath(mended, path, message + other);
    }
    if (problems.none()) {
      const version = PolicyVersion.parse(createHash('sha256').update(text, 'utf8').digest('hex'));
      return { ok: true, policy, version, lines: linesOf(tree, lines), warnings: [] };
    }
  }
  return { ok: false, problems: problems.all() };
}

/** Collects problems by where they stand in the text. */
class Problems {
  readonly #lines: LineCounter;
  readonly #found: PolicyProblem[] = [];

  constructor(lines: LineCounter) {
    this.#lines = lines;
  }

  none(): boolean {
    return this.#found.length === 0;
  }

  /** Past these, more of them help nobody, and looking for them costs more each time. */
  tooMany(): boolean {
    return this.#found.length >= LIMITS.problems;
  }

  at(offset: number, message: string, path: PolicyPath = []): void {
    const { line, column } = this.#position(offset);
    const problem = { line, column, path: printable(pathLabel(path)), message: printable(message) };
    const same = (other: PolicyProblem) =>
      other.line === line && other.path === problem.path && other.message === problem.message;
    if (!this.#found.some(same) && !this.tooMany()) this.#found.push(problem);
  }

  atPath(tree: PolicyTree, path: PolicyPath, message: string): void {
    const located = locate(tree, path);
    this.at(located.at, message, located.path);
  }

  /** `approvals.rules[0] (line 14)` */
  place(tree: PolicyTree, path: PolicyPath): string {
    const located = locate(tree, path);
    return `${pathLabel(located.path)} (line ${this.#position(located.at).line})`;
  }

  hasLine(offset: number): boolean {
    const { line } = this.#position(offset);
    return this.#found.some((problem) => problem.line === line);
  }

  all(): PolicyProblem[] {
    return [...this.#found].sort((a, b) => a.line - b.line || a.column - b.column);
  }

  #position(offset: number): { line: number; column: number } {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  }
}

/** Problems end up in terminals and logs; a key or a value from the text must not act there. */
function printable(text: string): string {
  const escaped = text.replace(
    /[^\x20-\x7e…]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return escaped.length <= 500 ? escaped : `${escaped.slice(0, 500)}…`;
}

/** Undefined where the text is so broken that nothing further can be said of it. */
function readTree(text: string, lines: LineCounter, problems: Problems): PolicyTree | undefined {
  if (text.length > LIMITS.bytes || Buffer.byteLength(text, 'utf8') > LIMITS.bytes) {
    problems.at(0, `is larger than ${LIMITS.bytes / 1024} KiB`);
    return undefined;
  }
  const tokens = tokensOf(text, lines);
  refuseHiddenCharacters(text, problems);
  if (tokens === undefined) problems.at(0, `is nested deeper than ${LIMITS.depth} levels`);
  if (tokens === undefined || !refuseFeatures(tokens, problems)) return undefined;

  const composer = new Composer({
    version: '1.2',
    schema: 'core',
    strict: true,
    uniqueKeys: true,
    stringKeys: true,
    merge: false,
    prettyErrors: false,
    logLevel: 'silent',
    lineCounter: lines,
  });
  const [document] = [...composer.compose(tokens, true, text.length)];
  if (document === undefined) {
    problems.at(0, 'the policy is empty');
    return undefined;
  }
  const errors: YAMLError[] = [...document.errors, ...document.warnings];
  for (const { pos, code, message } of errors) {
    if (problems.tooMany()) break;
    // The refused features were named already, in words about policies.
    if (!(REFUSED_FEATURE_ERRORS.has(code) && problems.hasLine(pos[0]))) problems.at(pos[0], message);
  }
  const structural = errors.some(({ code }) => code !== 'DUPLICATE_KEY' && !REFUSED_FEATURE_ERRORS.has(code));
  if (structural) return undefined;
  if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) {
    problems.at(0, 'the policy is empty');
    return undefined;
  }
  if (!isMap(document.contents)) {
    problems.at(
      document.contents.range[0],
      'expected a mapping with keys such as tools, write_tools and approvals',
    );
    return undefined;
  }
  return treeOf(document.contents, problems);
}

/** Undefined where the stack ends: the parser goes one deeper for some of the levels, thousands below our limit. */
function tokensOf(text: string, lines: LineCounter): CST.Token[] | undefined {
  try {
    return [...new Parser(lines.addNewLine).parse(text)];
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

const REFUSED_FEATURE_ERRORS = new Set(['BAD_ALIAS', 'BAD_DIRECTIVE', 'MULTIPLE_DOCS', 'TAG_RESOLVE_FAILED']);

/**
 * An approver of the policy reads it in an editor or a diff. Characters that reorder, hide or end a line there but not
 * for the parser would let the text say something else than it shows. U+FFFD stands for bytes that are no UTF-8: two
 * different files would have one version.
 */
const HIDDEN =
  /[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufffd\ufff9-\ufffb]|\r(?!\n)|(?<!^)\ufeff|\p{Surrogate}|[\u{e0000}-\u{e007f}]/gu;

function refuseHiddenCharacters(text: string, problems: Problems): void {
  for (const { 0: character, index } of text.matchAll(HIDDEN)) {
    const codePoint = (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
    problems.at(index, `holds a character that an editor may not show, U+${codePoint}: remove it`);
  }
}

/** Names every use of YAML that a policy does without. False where composing the text would be unwise. */
function refuseFeatures(tokens: readonly CST.Token[], problems: Problems): boolean {
  let documents = 0;
  const open: { token: CST.Token; depth: number }[] = tokens.map((token) => ({ token, depth: 0 })).reverse();
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { token, depth } = next;
    if (depth > LIMITS.depth) {
      problems.at(token.offset, `is nested deeper than ${LIMITS.depth} levels`);
      return false;
    }
    if (token.type === 'document') {
      documents += 1;
      if (documents === 2) problems.at(token.offset, 'a policy is one document: this begins a second one');
    }
    const refusal = REFUSED_TOKENS.get(token.type);
    if (refusal !== undefined) problems.at(token.offset, refusal);
    if (problems.tooMany()) return false;
    if ('items' in token && hasTooMany(token.items)) {
      problems.at(token.offset, `has more than ${LIMITS.keysPerMapping} entries`);
      return false;
    }
    for (const inner of within(token).reverse()) open.push({ token: inner, depth: depth + 1 });
  }
  return true;
}

/** Commas with nothing between them all stand before one entry. */
function hasTooMany(items: readonly { readonly start: readonly CST.SourceToken[] }[]): boolean {
  const most = LIMITS.keysPerMapping;
  return items.length > most || items.some(({ start }) => start.length > most);
}

const REFUSED_TOKENS = new Map<string, string>([
  ['directive', 'directives are not supported in a policy'],
  ['alias', 'aliases are not supported in a policy: write the value out'],
  ['anchor', 'anchors are not supported in a policy'],
  ['tag', 'tags are not supported in a policy'],
]);

function within(token: CST.Token): CST.Token[] {
  switch (token.type) {
    case 'document':
      return [...token.start, ...(token.value === undefined ? [] : [token.value])];
    case 'block-scalar':
      return [...token.props];
    case 'block-map':
    case 'block-seq':
    case 'flow-collection':
      return token.items.flatMap((item) =>
        [item.start, item.key ?? [], item.sep ?? [], item.value ?? []].flat(),
      );
    default:
      return [];
  }
}

/** 010 is ten in YAML 1.2 and eight in YAML 1.1; who reads 0x1F or 1e2 in a policy has to reckon. */
const PLAIN_NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$/;

function treeOf(node: ParsedNode | null, problems: Problems, fallback = 0): PolicyTree {
  const at = node?.range[0] ?? fallback;
  if (node === null) return { at, kind: 'scalar', value: null };
  if (isAlias(node) || node.tag !== undefined) return { at, kind: 'refused' };
  if (isScalar(node)) {
    const written = node.source ?? '';
    if (Number.isFinite(node.value) && !PLAIN_NUMBER.test(written)) {
      problems.at(at, `${written} is another number to other readers: write it in plain decimal digits`);
      return { at, kind: 'refused' };
    }
    return { at, kind: 'scalar', value: node.value };
  }
  if (isSeq(node)) {
    const children = node.items.map((item, name): PolicyChild => {
      const tree = treeOf(item, problems, at);
      return { name, at: tree.at, tree };
    });
    return { at, kind: 'list', children };
  }
  const children: PolicyChild[] = [];
  for (const { key, value } of node.items) {
    const keyAt = key.range[0];
    const name = isScalar(key) ? String(key.value) : '';
    if (name === '<<') problems.at(keyAt, 'merge keys are not supported in a policy: write the entries out');
    else if (name === '__proto__') problems.at(keyAt, '__proto__ is no key');
    // A duplicate was reported by the reader; the first one stands in for both.
    else if (!children.some((child) => child.name === name)) {
      children.push({ name, at: keyAt, tree: treeOf(value, problems, keyAt) });
    }
  }
  return { at, kind: 'map', children };
}

interface ReadPolicy {
  readonly policy: Policy;
  readonly mended: PolicyTree;
  readonly damage: Damage;
}

/**
 * The policy, or what is left of it; undefined where nothing is. Broken values are reported and left out, and the rest is read again, so that one run reports both a
 * misspelt key and, three rules further down, a quorum that cannot be met.
 */
function readPolicy(tree: PolicyTree, problems: Problems): ReadPolicy | undefined {
  const refused = [...everyPlace(tree)].filter((place) => place.tree.kind === 'refused');
  const broken = refused.map((place) => place.path);
  let mended = mend(tree, new Map(refused.map((place) => [place.tree, undefined])));
  for (;;) {
    const parsed = Policy.safeParse(plainValue(mended));
    if (parsed.success) return { policy: parsed.data, mended, damage: new Damage(broken, mended) };
    const mending = new Map<PolicyTree, PolicyTree | undefined>();
    const explained = [...broken];
    for (const issue of parsed.error.issues) {
      if (problems.tooMany()) return undefined;
      for (const { path, tree } of reportIssue(issue, mended, explained, problems)) {
        if (issue.code !== 'unrecognized_keys') broken.push(path);
        if (tree !== undefined) mending.set(tree, standIn(path, tree));
      }
    }
    if (mending.size === 0 || mending.has(mended)) return undefined;
    mended = mend(mended, mending);
  }
}

/**
 * What takes the place of a broken mapping that its entry cannot do without, so that the rest of the entry is still
 * looked at. Nothing is concluded from it.
 */
function standIn(path: PolicyPath, { at }: PolicyTree): PolicyTree | undefined {
  const plain = { budget: { max: 1, per: '1h' }, slack: { team: 'T0', channel: 'C0' } };
  const [section, , part] = path;
  if (path.length !== 3) return undefined;
  if (section === 'auto_approve' && part === 'budget') return flatMap(plain.budget, at);
  return section === 'tenants' && part === 'slack' ? flatMap(plain.slack, at) : undefined;
}

function flatMap(entries: Readonly<Record<string, unknown>>, at: number): PolicyTree {
  const children = Object.entries(entries).map(
    ([name, value]): PolicyChild => ({ name, at, tree: { at, kind: 'scalar', value } }),
  );
  return { at, kind: 'map', children };
}

/** Reports an issue in words about the text, and answers what to leave out. */
function reportIssue(
  issue: z.core.$ZodIssue,
  tree: PolicyTree,
  explained: readonly PolicyPath[],
  problems: Problems,
): Pick<Located, 'path' | 'tree'>[] {
  const path = issue.path.map((part) => (typeof part === 'number' ? part : String(part)));
  if (issue.code === 'unrecognized_keys') {
    const keys = issue.keys.map((key) => [...path, key]);
    for (const key of keys) problems.atPath(tree, key, 'unknown key');
    return keys.map((key) => locate(tree, key));
  }
  const found = locate(tree, path);
  // What was left out for being broken is not missing, and a list that it emptied is not empty.
  if (!explained.some((broken) => leads(found.path, broken))) {
    problems.atPath(tree, path, describe(issue, found.tree));
  }
  // Without a value that it must have, the whole entry goes.
  return [found.tree === undefined ? locate(tree, path.slice(0, -1)) : found];
}

function describe(issue: z.core.$ZodIssue, found: PolicyTree | undefined): string {
  if (found === undefined) return 'is missing';
  if (found.kind === 'scalar' && found.value === null) return 'is empty';
  return issue.message.replace(/^Invalid (?:input|option): /, '') + booleanHint(issue, found);
}

function booleanHint(issue: z.core.$ZodIssue, found: PolicyTree): string {
  const wantsBoolean =
    (issue.code === 'invalid_type' && issue.expected === 'boolean') ||
    (issue.code === 'invalid_value' && issue.values.some((value) => typeof value === 'boolean'));
  const word = found.kind === 'scalar' ? found.value : undefined;
  if (!wantsBoolean || typeof word !== 'string' || !/^(?:on|off|yes|no|y|n)$/i.test(word)) return '';
  return ` (${word} is a text in YAML 1.2: write true or false)`;
}

function linesOf(tree: PolicyTree, lines: LineCounter): ReadonlyMap<string, number> {
  const places = [...everyPlace(tree)];
  return new Map(places.map(({ path, at }) => [pathLabel(path), lines.linePos(at).line]));
}
