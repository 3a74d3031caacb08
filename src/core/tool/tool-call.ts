import type { z } from 'zod';
import { redactedValues } from '../secrets/redacted-values.ts';
import { scrub } from '../secrets/scrub.ts';
import { canonicalJson } from './canonical-json.ts';
import { type Digest, digestOf } from './digest.ts';
import { findScopeKey } from './scope-smuggling.ts';
import {
  ARGUMENT_LIMITS,
  fromHostValue,
  type JsonLimits,
  type JsonParse,
  type JsonValue,
  narrowLimits,
  parseStrictJson,
} from './strict-json.ts';
import type { ToolDefinition } from './tool.ts';
import { brief, cutLoudly, visibleText } from './visible-text.ts';

/** One deeply frozen value and its canonical text: what is shown, digested, sealed and executed. */
export type FrozenArguments =
  | { readonly ok: true; readonly value: JsonValue; readonly canonical: string; readonly digest: Digest }
  | {
      readonly ok: false;
      readonly refusal: 'malformed' | 'scope_key' | 'schema';
      /** For models and people: never more than 60 characters of a value, and nothing unseen. */
      readonly issues: readonly string[];
    };

/**
 * Turns what an agent sent into the arguments of a call, once. `{ json }`, with no other property, is the model's text
 * as it came: only there can duplicate keys and lost digits be seen. Anything else is taken as the host's value.
 * @throws JsonLimitsWidened where `limits` go beyond ARGUMENT_LIMITS.
 */
export function freezeArguments(
  tool: ToolDefinition,
  args: unknown,
  limits: Partial<JsonLimits> = {},
): FrozenArguments {
  const within = narrowLimits(limits, ARGUMENT_LIMITS);
  const parsed = parsedArguments(args, within);
  if (!parsed.ok) return refused('malformed', [`the arguments are malformed: ${parsed.detail}`]);
  const { value } = parsed;

  const scope = findScopeKey(value, new Set(tool.scopeKeys));
  if (scope) {
    return refused('scope_key', [
      `"${brief(scope.key)}" (at ${brief(scope.path)}) looks like tenant, environment, account or agent scope, which comes ` +
        'from the authenticated context and is never an argument; leave it out',
    ]);
  }

  const issues = schemaIssues(tool, value);
  if (issues.length > 0) return refused('schema', issues);
  const canonical = canonicalJson(value);
  // 1e-6 grows when it is written canonically: what is accepted must be readable again under the same limits.
  if (Buffer.byteLength(canonical) > within.bytes) {
    return refused('malformed', [`the arguments are larger than ${within.bytes} bytes of JSON`]);
  }
  return { ok: true, value, canonical, digest: digestOf('arguments', canonical) };
}

const refused = (refusal: 'malformed' | 'scope_key' | 'schema', issues: readonly string[]) =>
  ({ ok: false, refusal, issues }) as const;

function parsedArguments(args: unknown, limits: JsonLimits): JsonParse {
  const text = jsonTextOf(args);
  return text === undefined ? fromHostValue(args, limits) : parseStrictJson(text, limits);
}

/** No tool has an argument called `json` (`defineTool` sees to it), so this shape means nothing else. */
function jsonTextOf(args: unknown): string | undefined {
  if (typeof args !== 'object' || args === null) return undefined;
  try {
    const keys = Reflect.ownKeys(args);
    if (keys.length !== 1 || keys[0] !== 'json') return undefined;
    const text: unknown = Reflect.getOwnPropertyDescriptor(args, 'json')?.value;
    return typeof text === 'string' ? text : undefined;
  } catch {
    return undefined;
  }
}

const CHANGES_ARGUMENTS =
  "the tool's schema changes arguments (default/coerce/transform); spell every argument out";

/** Empty where the schema accepts exactly these arguments: what it returns must be what it was given. */
function schemaIssues(tool: ToolDefinition, value: JsonValue): string[] {
  try {
    const judged = tool.input.safeParse(value);
    if (!judged.success)
      return judged.error.issues.slice(0, MOST_ISSUES).map((issue) => issueText(issue, value, tool));
    const output = fromHostValue(judged.data, OUTPUT_LIMITS, { undefinedProperties: 'drop' });
    const unchanged = output.ok && canonicalJson(output.value) === canonicalJson(value);
    return unchanged ? [] : [CHANGES_ARGUMENTS];
  } catch {
    return ["the tool's schema threw while it judged the arguments; the tool's author must correct it"];
  }
}

const MOST_ISSUES = 20;
const LONGEST_MESSAGE = 200;
/** The output is at least as large as the input where it is equal; a larger one is a changed one. */
const OUTPUT_LIMITS: JsonLimits = { ...ARGUMENT_LIMITS, bytes: 2 * ARGUMENT_LIMITS.bytes };

function issueText(issue: z.core.$ZodIssue, value: JsonValue, tool: ToolDefinition): string {
  const path = issue.path.length === 0 ? 'the arguments' : `"${brief(issue.path.map(String).join('.'))}"`;
  if (issue.code === 'unrecognized_keys') {
    const keys = issue.keys.slice(0, 5).map((key) => `"${brief(key)}"`);
    const more = issue.keys.length > 5 ? ` and ${issue.keys.length - 5} more` : '';
    return `${path}: the tool has no argument ${keys.join(', ')}${more}`;
  }
  // Before it is cut, because half a value is no longer recognised.
  const shown = scrub(issue.message, redactedValues(tool, value));
  return `${path}: ${withoutValues(shown, value)}`;
}

/** A refinement's own message may quote what it judged: long texts are shortened wherever they are quoted. */
function withoutValues(message: string, value: JsonValue): string {
  let text = message;
  for (const long of longTexts(value)) {
    // What follows a value's first 61 characters may be the rest of it, cut or altered: it goes as well.
    const quoted = text.indexOf(long.slice(0, 61));
    if (quoted >= 0) text = text.slice(0, quoted) + brief(long);
  }
  return cutLoudly(visibleText(text).text, LONGEST_MESSAGE).text;
}

function longTexts(value: JsonValue): string[] {
  if (typeof value === 'string') return value.length > 60 ? [value] : [];
  if (value === null || typeof value !== 'object') return [];
  return Object.entries(value).flatMap(([key, inner]) => [...longTexts(key), ...longTexts(inner)]);
}
