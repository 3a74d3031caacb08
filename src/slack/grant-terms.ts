import type { ArgumentPattern } from '../core/grant/argument-pattern.ts';
import type { GrantStatement } from '../core/grant/grant.ts';
import type { GrantDraft } from '../core/grant/grant-desk.ts';
import { canonicalJson } from '../core/tool/canonical-json.ts';
import { type Digest, digestOf } from '../core/tool/digest.ts';
import { type JsonValue, parseStrictJson } from '../core/tool/strict-json.ts';
import type { ToolDefinition } from '../core/tool/tool.ts';
import { mixedScripts, prettyArguments, visibleText } from '../core/tool/visible-text.ts';
import {
  asWritten,
  code,
  counted,
  inWords,
  type KnownBlock,
  mention,
  oneLine,
  ourNote,
  ourSection,
} from './wording.ts';

/** Of the blocks as JSON: like a card, well below where Slack refuses a message. */
const TERMS_BYTES = 7_000;
const MOST_ARGUMENTS = 20;
const SCHEMA_BYTES = 600;

/** Whatever a grant says that people see, as the form has it before it is given and the card after. */
export interface GrantScope {
  readonly tool: string;
  readonly tenant: string;
  readonly environment: string;
  readonly agent: string;
  readonly principal: string;
  readonly pattern: ArgumentPattern;
  readonly maxUses: number;
  readonly lifeMs: number;
}

export function scopeOfDraft({ terms, pattern, maxUses, lifeMs }: GrantDraft): GrantScope {
  const { tenant, environment, agent, principal } = terms.context;
  return { tool: terms.tool, tenant, environment, agent, principal, pattern, maxUses, lifeMs };
}

export function scopeOfStatement(statement: GrantStatement): GrantScope {
  const { tool, tenant, environment, agent, principal, pattern, maxUses, expires, at } = statement;
  return { tool, tenant, environment, agent, principal, pattern, maxUses, lifeMs: expires - at };
}

export interface GrantSight {
  readonly blocks: readonly KnownBlock[];
  /** SHA-256 over the blocks. */
  readonly shown: Digest;
}

/**
 * A grant, whole, or undefined where it cannot be shown whole: then it is not given. An argument that the tool's definition
 * keeps from view is such a case, because nobody could see what they allow again and again.
 */
export function drawGrantTerms(
  scope: GrantScope,
  tool: ToolDefinition | undefined,
  team: string,
): GrantSight | undefined {
  if (scope.pattern.length > MOST_ARGUMENTS) return undefined;
  if (tool === undefined || redacts(tool, scope.pattern) || !knows(tool, scope.pattern)) return undefined;
  const principal = scope.principal.startsWith('slack:')
    ? mention(scope.principal as Parameters<typeof mention>[0], team)
    : code(scope.principal);
  const where =
    scope.environment === 'production'
      ? `${code(scope.environment)}: *changes real data*`
      : code(scope.environment);
  const blocks: KnownBlock[] = [
    ourSection(
      `${code(scope.tool)} for ${code(scope.tenant)} in ${where}, called by agent ${code(scope.agent)} on behalf of ${principal}`,
    ),
    ourSection(
      `*At most ${counted(scope.maxUses, 'more call')}*, within *${inWords(scope.lifeMs)}*, with just these arguments and no other:`,
    ),
  ];
  for (const part of scope.pattern) {
    const name = code(oneLine(part.name));
    if (part.may === 'be') {
      const value = parseStrictJson(part.value);
      if (!value.ok) return undefined;
      blocks.push(
        ourSection(`${name} must be *exactly*`),
        ...notesOn(value.value),
        asWritten(prettyArguments(value.value)),
      );
    } else {
      const schema = schemaOf(tool, part.name);
      blocks.push(ourSection(`${name} may be *ANYTHING* that the tool takes:`), asWritten(schema));
    }
  }
  if (Buffer.byteLength(JSON.stringify(blocks)) > TERMS_BYTES) return undefined;
  return { blocks, shown: digestOf('grant-form', JSON.stringify(blocks)) };
}

/** In one line each, for lists: what is fixed in full, what is free by name. */
export function patternText(pattern: ArgumentPattern): string {
  if (pattern.length === 0) return '(no arguments)';
  return pattern
    .map((part) => `${oneLine(part.name)}: ${part.may === 'be' ? prettyLine(part.value) : '(anything)'}`)
    .join('\n');
}

function prettyLine(value: string): string {
  return visibleText(value).text;
}

function redacts(tool: ToolDefinition, pattern: ArgumentPattern): boolean {
  const names = new Set(pattern.map(({ name }) => name));
  return tool.redact.some((path) => names.has(path.split('.')[0] ?? ''));
}

/** The names stand among our words: they are those of the tool's definition, and never an agent's. */
function knows(tool: ToolDefinition, pattern: ArgumentPattern): boolean {
  const properties = propertyOf(tool.inputSchema, 'properties') ?? null;
  return pattern.every(({ name }) => propertyOf(properties, name) !== undefined);
}

function notesOn(value: JsonValue): KnownBlock[] {
  const text = visibleText(canonicalJson(value));
  const notes: string[] = [];
  if (text.invisible > 0) {
    notes.push(
      `Look closely: ${counted(text.invisible, 'character')} in it cannot be seen; written out as \\u{…}.`,
    );
  }
  if (mixedScripts(canonicalJson(value)).length > 0) {
    notes.push('Look closely: letters of different alphabets that look alike are mixed in it.');
  }
  return notes.length === 0 ? [] : [ourNote(notes.join(' '))];
}

/** The tool author's words for one argument. Too long to show means only its type is. */
function schemaOf(tool: ToolDefinition, name: string): string {
  const { inputSchema } = tool;
  const properties = propertyOf(inputSchema, 'properties');
  const schema = properties === undefined ? undefined : propertyOf(properties, name);
  const text = schema === undefined ? '(any value)' : visibleText(canonicalJson(schema)).text;
  return Buffer.byteLength(text) <= SCHEMA_BYTES ? text : '(a large schema: see the definition of the tool)';
}

function propertyOf(value: JsonValue, name: string): JsonValue | undefined {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined;
  const record = value as Readonly<Record<string, JsonValue>>;
  return Object.hasOwn(record, name) ? record[name] : undefined;
}
