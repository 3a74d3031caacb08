import { AgentId, EnvironmentId, TenantId } from '../core/identity/ids.ts';
import { EVERYTHING, type SwitchScope } from '../core/switch/scope.ts';
import { ToolName } from '../core/tool/tool-name.ts';

/** What is there to be named. Agents are not registered anywhere, so any id is one. */
export interface KnownNames {
  tenant(name: string): boolean;
  environment(name: string): boolean;
  tool(name: string): boolean;
}

export type SwitchCommand =
  | {
      readonly verb: 'off';
      readonly scope: SwitchScope;
      /** Words that look like a scope and name nothing: everything is switched off then. */
      readonly unclear: string | undefined;
      readonly forMs: number | undefined;
      readonly why: string | undefined;
    }
  | { readonly verb: 'on'; readonly scope: SwitchScope; readonly why: string | undefined }
  | { readonly verb: 'on_unclear'; readonly words: string }
  /** One word of letters, and what follows it. Who knows no such word answers with the help. */
  | { readonly verb: 'other'; readonly word: string; readonly words: string }
  | { readonly verb: 'unknown' };

/**
 * `off` is forgiving: whatever begins with the word means it (`OFF`, ` off!`, `off;on`), and a scope that names nothing
 * means everything, because somebody who types it wants writes to stop. `on` is strict: exactly the word in these two
 * letters, with ordinary spaces, and a scope that names what is there.
 */
export function parseSwitchCommand(text: string, known: KnownNames): SwitchCommand {
  const line = text.normalize('NFKC').replace(/\s+/gu, ' ').trim();
  const off = /^[^\p{L}\p{N}]*(?:off|stop|halt)(?![\p{L}\p{N}])/iu.exec(line);
  if (off !== null) return parseOff(line.slice(off[0].length), known);
  // Not the normalized line: what only looks like `on`, or like the name of a tenant, is neither.
  const exact = text.replace(/[ \t\r\n]+/g, ' ').replace(/^ | $/g, '');
  const on = /^on(?: |$)/i.exec(exact);
  if (on !== null) return parseOn(exact.slice(on[0].length), known);
  if (line === '') return { verb: 'other', word: 'help', words: '' };
  const other = /^([a-z]+)(?: (.*))?$/i.exec(exact);
  if (other === null) return { verb: 'unknown' };
  return { verb: 'other', word: (other[1] ?? '').toLowerCase(), words: other[2] ?? '' };
}

function parseOff(words: string, known: KnownNames): SwitchCommand {
  const before = readDuration(withoutLead(words));
  const read = readScope(before.rest, known);
  const scope = read.ok ? read.scope : EVERYTHING;
  const unclear = read.ok ? undefined : read.words;
  const rest = read.ok ? read.rest : before.rest;
  const after = before.ms === undefined ? readDuration(rest) : { ms: before.ms, rest };
  return { verb: 'off', scope, unclear, forMs: after.ms, why: reasonIn(after.rest) };
}

function parseOn(words: string, known: KnownNames): SwitchCommand {
  const read = readScope(words.trim(), known);
  if (!read.ok) return { verb: 'on_unclear', words: read.words };
  return { verb: 'on', scope: read.scope, why: reasonIn(read.rest) };
}

type ReadScope =
  | { readonly ok: true; readonly scope: SwitchScope; readonly rest: string }
  | { readonly ok: false; readonly words: string };

const PART =
  /^(tenant|environment|env|tool|agent)(?: ?[:=] ?| |$)([^\s,;]*)[,;]? ?(?:and (?=tenant|env|tool|agent))?/i;

function readScope(words: string, known: KnownNames): ReadScope {
  const everything = /^(?:everything|all)(?![\p{L}\p{N}])[\s,;:.-]*/iu.exec(words);
  if (everything !== null) return { ok: true, scope: EVERYTHING, rest: words.slice(everything[0].length) };
  let scope: SwitchScope = EVERYTHING;
  let rest = words;
  for (let part = PART.exec(rest); part !== null; part = PART.exec(rest)) {
    const name = (part[2] ?? '').replace(/[.!?:]+$/, '');
    const named = namedPart((part[1] ?? '').toLowerCase(), name, known);
    if (named === undefined || Object.keys(named).some((key) => key in scope)) {
      return { ok: false, words: part[0].trim().slice(0, 80) };
    }
    scope = { ...scope, ...named };
    rest = rest.slice(part[0].length);
  }
  return { ok: true, scope, rest };
}

function namedPart(kind: string, name: string, known: KnownNames): SwitchScope | undefined {
  if (kind === 'tenant') {
    const tenant = TenantId.safeParse(name);
    return tenant.success && known.tenant(name) ? { tenant: tenant.data } : undefined;
  }
  if (kind === 'tool') {
    const tool = ToolName.safeParse(name);
    return tool.success && known.tool(name) ? { tool: tool.data } : undefined;
  }
  if (kind === 'agent') {
    const agent = AgentId.safeParse(name);
    return agent.success && !SENTENCE_WORDS.has(name) ? { agent: agent.data } : undefined;
  }
  const environment = EnvironmentId.safeParse(name);
  return environment.success && known.environment(name) ? { environment: environment.data } : undefined;
}

/** "off agent is closing everything": a sentence about the agent, and not an agent by the name of `is`. */
const SENTENCE_WORDS: ReadonlySet<string> = new Set(
  'a an and are behaves broken bug bugs can closes closing deletes deleting did does gone has have in is it just keep keeps looks makes not of on or run running runs seems still that the this to was went were will writes writing wrong'.split(
    ' ',
  ),
);

const UNITS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

function readDuration(words: string): { ms: number | undefined; rest: string } {
  const match =
    /^for ([1-9][0-9]{0,4}) ?(s|m|h|d|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?)(?![\p{L}\p{N}])[\s,;:.-]*/iu.exec(
      words,
    );
  const unit = match?.[2]?.[0]?.toLowerCase();
  if (match === null || (unit !== 's' && unit !== 'm' && unit !== 'h' && unit !== 'd')) {
    return { ms: undefined, rest: words };
  }
  return { ms: Number(match[1]) * UNITS[unit], rest: words.slice(match[0].length) };
}

const REASON_MAX = 500;

function reasonIn(words: string): string | undefined {
  const reason = withoutLead(words)
    .replace(/^(?:because|reason)(?![\p{L}\p{N}])[\s:]*/iu, '')
    .toWellFormed();
  return reason === '' ? undefined : [...reason].slice(0, REASON_MAX).join('');
}

function withoutLead(words: string): string {
  return words.replace(/^[\s,;:.!"'`’”-]+/u, '').trim();
}
