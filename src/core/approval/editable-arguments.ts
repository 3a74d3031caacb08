import type { ProposalTerms } from '../proposal/proposal-terms.ts';
import { type JsonValue, parseStrictJson } from '../tool/strict-json.ts';

/** As much as one input of a form takes. */
export const EDITABLE_CHARACTERS = 3_000;

/**
 * The arguments as JSON to be changed by hand, one key a line. What cannot be seen stands as an escape, so that nobody
 * hands in what he does not see. Undefined where the call may not be changed: nobody lets people, a person would have to
 * see what is kept from view, or the text does not fit into a form.
 * @param redact the tool's; undefined: it is not known here.
 */
export function editableArguments(
  { basis, arguments: text }: ProposalTerms,
  redact: readonly string[] | undefined,
): string | undefined {
  if (basis.kind !== 'people' || basis.rule.edit === undefined) return undefined;
  if (redact === undefined || redact.length > 0) return undefined;
  const parsed = parseStrictJson(text);
  if (!parsed.ok) return undefined;
  const editable = withEscapes(JSON.stringify(parsed.value, null, 2));
  return editable.length <= EDITABLE_CHARACTERS ? editable : undefined;
}

/** Every character that draws nothing, piles up on others, or changes the order of what is drawn. */
const UNSEEN =
  /(?![\n ])[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\p{Zl}\p{Zp}\p{Zs}\p{Co}\p{Cn}\p{Mn}\p{Me}\u2800]/gu;

/** Outside of strings JSON.stringify writes no such character, so each one becomes an escape inside a string. */
function withEscapes(json: string): string {
  return json.replace(UNSEEN, (point) =>
    Array.from(
      { length: point.length },
      (_, i) => `\\u${point.charCodeAt(i).toString(16).padStart(4, '0')}`,
    ).join(''),
  );
}

/** One thing that differs between two arguments, named by its path. `undefined`: it is not there. */
export interface ArgumentChange {
  readonly path: string;
  readonly was: JsonValue | undefined;
  readonly is: JsonValue | undefined;
}

/** What a person changed, in the order of the keys. Both are canonical JSON texts that a proposal's terms hold. */
export function argumentChanges(was: string, is: string): ArgumentChange[] {
  const [before, after] = [parseStrictJson(was), parseStrictJson(is)];
  if (!before.ok || !after.ok) return [];
  return changesAt('', before.value, after.value);
}

function changesAt(path: string, was: JsonValue | undefined, is: JsonValue | undefined): ArgumentChange[] {
  if (JSON.stringify(was) === JSON.stringify(is)) return [];
  if (!isObject(was) || !isObject(is)) return [{ path, was, is }];
  const keys = [...new Set([...Object.keys(was), ...Object.keys(is)])].sort();
  const inner = (key: string) => (path === '' ? key : `${path}.${key}`);
  return keys.flatMap((key) => changesAt(inner(key), own(was, key), own(is, key)));
}

function isObject(value: JsonValue | undefined): value is Readonly<Record<string, JsonValue>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const own = (value: Readonly<Record<string, JsonValue>>, key: string) =>
  Object.hasOwn(value, key) ? value[key] : undefined;
