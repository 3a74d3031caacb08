import { Credentials } from '../execution/credentials.ts';
import type { JsonValue } from '../tool/strict-json.ts';
import type { ToolDefinition } from '../tool/tool.ts';

/** What the tool's definition keeps from view: it must not come back through what the tool says. */
export function redactedValues(tool: Pick<ToolDefinition, 'redact'>, args: JsonValue): Credentials {
  const found = tool.redact.flatMap((path) => textsAt(args, path.split('.')));
  return new Credentials(Object.fromEntries(found.map((text, i) => [String(i), text])));
}

function textsAt(value: JsonValue, [key, ...rest]: readonly string[]): string[] {
  if (value === null || typeof value !== 'object') return key === undefined ? [String(value)] : [];
  const path = key === undefined ? [] : [key, ...rest];
  if (isList(value)) return value.flatMap((item) => textsAt(item, path));
  if (key === undefined) return Object.values(value).flatMap((inner) => textsAt(inner, []));
  const inner = Object.hasOwn(value, key) ? value[key] : undefined;
  return inner === undefined ? [] : textsAt(inner, rest);
}

const isList = (value: JsonValue): value is readonly JsonValue[] => Array.isArray(value);
