import { z } from 'zod';
import type { Credentials } from '../execution/credentials.ts';
import type { CallContext } from '../identity/call-context.ts';
import { canonicalJson } from './canonical-json.ts';
import { type Digest, digestOf } from './digest.ts';
import { fromHostValue, type JsonLimits, type JsonValue, parseStrictJson } from './strict-json.ts';
import { ToolName } from './tool-name.ts';

/** What a tool gets beside its arguments. Tenant and environment come from here, never from the arguments. */
export interface ToolRun {
  readonly context: CallContext;
  readonly credentials: Credentials;
  /** Aborted when the tool's timeout is over or the process shuts down. */
  readonly signal: AbortSignal;
  /** The same for every attempt of one admission: pass it on to the system that is written to. */
  readonly idempotencyKey: string;
}

export interface ToolSpec<Input extends z.ZodObject> {
  /** `ticket.close`; see ToolName. */
  readonly name: string;
  /** For models and for people, at most 1,024 characters. */
  readonly description: string;
  /** Anything but exactly `read` is a write. */
  readonly effect?: 'read' | 'write';
  /** What cannot be undone is never approved automatically. Default false. */
  readonly irreversible?: boolean;
  /** True where the target honours the idempotency key. Default false. */
  readonly idempotent?: boolean;
  /**
   * A z.object or z.strictObject. It judges and never changes: no default, coerce, transform, trim. None of its
   * arguments may be called `json`: `{ json }` is how a caller hands over arguments as a text.
   */
  readonly input: Input;
  /**
   * Paths of arguments that look like tenant, environment, account or agent scope but are business data here
   * (`account_id`, `customer.organization`; a bare name is a top-level argument). Say in a comment why: the tool must
   * never choose by them whose data or which credentials it uses.
   */
  readonly scopeKeys?: readonly string[];
  /** Dot-separated paths of arguments that logs and audit entries must not show: `password`, `card.number`. */
  readonly redact?: readonly string[];
  /** Milliseconds until `signal` aborts. Default 30,000. */
  readonly timeout?: number;
  /** What would change, in the tool's words. Run by the executor with read credentials; it must not write. */
  readonly preview?: (args: z.output<Input>, run: ToolRun) => Promise<string> | string;
  /** The result must be JSON: no dates, class instances or bigints. */
  readonly execute: (args: z.output<Input>, run: ToolRun) => unknown;
}

/** Frozen, but for the zod schema, which builds its parts on first use. */
export interface ToolDefinition {
  readonly name: ToolName;
  readonly description: string;
  readonly effect: 'read' | 'write';
  readonly irreversible: boolean;
  readonly idempotent: boolean;
  readonly input: z.ZodObject;
  /** `input` as JSON Schema, for models and for the digest. Refinements written in code do not show in it. */
  readonly inputSchema: JsonValue;
  readonly scopeKeys: readonly string[];
  readonly redact: readonly string[];
  readonly timeout: number;
  readonly preview?: (args: JsonValue, run: ToolRun) => Promise<string>;
  /** The schema judges once more, and the tool gets a copy of its own: changing it changes nothing that is sealed. */
  readonly execute: (args: JsonValue, run: ToolRun) => Promise<unknown>;
}

/** A tool's definition is wrong: its author must change it before the process can start. */
export class ToolDefinitionInvalid extends Error {
  override readonly name = 'ToolDefinitionInvalid';
  readonly code = 'tool_definition_invalid';
}

const DEFAULT_TIMEOUT = 30_000;
const LONGEST_TIMEOUT = 15 * 60_000;
const SCHEMA_LIMITS: JsonLimits = {
  bytes: 256 * 1024,
  depth: 64,
  keys: 10_000,
  keyLength: 1_024,
  stringLength: 64 * 1024,
};

const Paths = z.array(z.string().regex(/^[^.\s]+(\.[^.\s]+)*$/, 'a path is names joined by dots'));

const Declared = z.object({
  name: ToolName,
  description: z.string().min(1, 'a tool needs a description').max(1_024),
  scopeKeys: Paths,
  redact: Paths,
  timeout: z.int().min(1).max(LONGEST_TIMEOUT),
});

/** @throws ToolDefinitionInvalid naming the tool and everything that is wrong with it. */
export function defineTool<Input extends z.ZodObject>(spec: ToolSpec<Input>): ToolDefinition {
  const declared = Declared.safeParse({
    name: spec.name,
    description: spec.description,
    scopeKeys: spec.scopeKeys ?? [],
    redact: spec.redact ?? [],
    timeout: spec.timeout ?? DEFAULT_TIMEOUT,
  });
  if (!declared.success) throw invalid(spec.name, z.prettifyError(declared.error), declared.error);
  const { name, description, scopeKeys, redact, timeout } = declared.data;
  const { preview, execute } = spec;
  const { input, inputSchema } = judgingSchema(spec);
  return Object.freeze({
    name,
    description,
    effect: spec.effect === 'read' ? 'read' : 'write',
    irreversible: spec.irreversible !== undefined && spec.irreversible !== false,
    idempotent: spec.idempotent === true,
    input,
    inputSchema,
    scopeKeys: Object.freeze(scopeKeys),
    redact: Object.freeze(redact),
    timeout,
    ...(preview && {
      preview: async (args: JsonValue, run: ToolRun) => preview(spec.input.parse(args), run),
    }),
    execute: async (args: JsonValue, run: ToolRun) => execute(spec.input.parse(args), run),
  });
}

function judgingSchema(spec: ToolSpec<z.ZodObject>): { input: z.ZodObject; inputSchema: JsonValue } {
  if (!(spec.input instanceof z.ZodObject)) throw invalid(spec.name, 'input must be a z.strictObject(…)');
  const unknownKeys = spec.input.def.catchall;
  if (unknownKeys !== undefined && !(unknownKeys instanceof z.ZodNever)) {
    throw invalid(spec.name, 'input accepts unknown arguments; use z.strictObject(…)');
  }
  if (Object.hasOwn(spec.input.shape, 'json')) {
    throw invalid(spec.name, 'an argument cannot be called "json"; choose another name');
  }
  const input = unknownKeys === undefined ? spec.input.strict() : spec.input;
  // A transform has no JSON Schema. It is shown as anything here; its calls are refused when their arguments change.
  const schema = JSON.stringify(z.toJSONSchema(input, { io: 'input', unrepresentable: 'any' }));
  const inputSchema = parseStrictJson(schema, SCHEMA_LIMITS);
  if (!inputSchema.ok) throw invalid(spec.name, `input has no usable JSON Schema: ${inputSchema.detail}`);
  return { input, inputSchema: inputSchema.value };
}

function invalid(name: unknown, problem: string, cause?: unknown): ToolDefinitionInvalid {
  return new ToolDefinitionInvalid(`the tool ${JSON.stringify(name)} is not usable: ${problem}`, { cause });
}

/**
 * Over everything that people approved when they approved a call of this tool, so that a tool that changed since is
 * another tool. What `execute` does is not in it: code is versioned by its release.
 */
export function toolDigest(tool: ToolDefinition): Digest {
  return digestOf(
    'tool',
    canonicalJson({
      name: tool.name,
      effect: tool.effect,
      irreversible: tool.irreversible,
      idempotent: tool.idempotent,
      description: tool.description,
      input: tool.inputSchema,
      scopeKeys: tool.scopeKeys,
    }),
  );
}

/** `json` is always JSON text of at most 64 KiB, also where `ok` is false: then it says what is wrong. */
export interface ToolResult {
  readonly ok: boolean;
  readonly json: string;
  /** The result was larger; `json` is then `{ "truncated": true, "bytes": …, "beginning": "…" }`. */
  readonly truncated: boolean;
}

const RESULT_BYTES = 64 * 1024;
const READABLE_RESULT: JsonLimits = {
  bytes: 16 * 1024 * 1024,
  depth: 64,
  keys: 500_000,
  keyLength: 1_024,
  stringLength: 16 * 1024 * 1024,
};

/**
 * What a tool returned, as text to keep. Never throws: by now the call has happened, and a result that cannot be kept
 * does not undo it. Undefined properties are dropped, as JSON does; everything else is as strict as for arguments.
 * @param scrub takes secrets out of JSON text; before it is cut, because half a secret is no longer recognised.
 */
export function resultFrom(value: unknown, scrub: (json: string) => string = (json) => json): ToolResult {
  if (value === undefined) return { ok: true, json: 'null', truncated: false };
  const copy = fromHostValue(value, READABLE_RESULT, { undefinedProperties: 'drop' });
  if (!copy.ok) {
    return { ok: false, json: scrub(canonicalJson({ unreadable_result: copy.detail })), truncated: false };
  }
  const json = scrub(canonicalJson(copy.value));
  const bytes = Buffer.byteLength(json);
  if (bytes <= RESULT_BYTES) return { ok: true, json, truncated: false };
  return { ok: true, json: truncatedResult(json, bytes), truncated: true };
}

function truncatedResult(json: string, bytes: number): string {
  let room = RESULT_BYTES - Buffer.byteLength(canonicalJson({ truncated: true, bytes, beginning: '' }));
  let end = 0;
  for (const point of json) {
    room -= Buffer.byteLength(JSON.stringify(point)) - 2;
    if (room < 0) break;
    end += point.length;
  }
  return canonicalJson({ truncated: true, bytes, beginning: json.slice(0, end) });
}
