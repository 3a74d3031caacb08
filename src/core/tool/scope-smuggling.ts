import type { JsonValue } from './strict-json.ts';

/**
 * Whose data a call touches comes from the authenticated context. A model that is talked into writing `tenant_id` next
 * to honest arguments must find no tool that reads it, so such keys are refused wherever they could be read from:
 *
 * - keys at any depth, however they are spelled: case, separators, full-width and other compatibility forms, accents,
 *   zero-width characters, Cyrillic, Greek and other look-alikes; dotted and bracketed keys part by part;
 * - entries (`{ name: 'X-Tenant-Id', value }`);
 * - strings that are JSON (or nearly: JSON5, JSON lines), queries and forms (`?tenant_id=…`, `a=1&tenantId=…`,
 *   percent-encoded too), and header lines (`X-Tenant-Id: …`).
 *
 * Which names: the fields of our own context (tenant, environment, agent, principal) and what else products call the
 * same thing (org, workspace), alone or with the usual prefixes and suffixes. `account` is a customer as often as it is
 * a tenant: alone it passes, as `account_id` it does not. Names of people and of data (`user_id`, `customer_id`,
 * `project_id`, `team_id`, `role`, `env_vars`) pass: they are what tools are about. Prose passes: "our tenant moved to
 * another environment", "env: production is down". Scope written as a URL's path or inside SQL is not looked for; there
 * the tenant's own credentials are the boundary.
 */
export interface ScopeKey {
  /** Where it was found: `items[2].note (query)`. */
  readonly path: string;
  /** As the agent spelled it. */
  readonly key: string;
}

/**
 * The first key that looks like scope. `allowed` holds exact paths without array indices (`account_id`,
 * `customer.organization`): a look-alike of an allowed name is not allowed, nor is the same name elsewhere.
 */
export function findScopeKey(value: JsonValue, allowed: ReadonlySet<string>): ScopeKey | undefined {
  const pending: Place[] = [{ value, path: '', name: '', enveloped: false }];
  // Depth first, in the order of writing, without recursion: a JSON text inside a string may be nested at will.
  for (let place = pending.pop(); place !== undefined; place = pending.pop()) {
    const looked = look(place, allowed);
    if (looked.found) return looked.found;
    pending.push(...looked.inner.reverse());
  }
  return undefined;
}

interface Place {
  readonly value: unknown;
  readonly path: string;
  /** The path as `allowed` has it: no indices; undefined inside a string, where nothing is allowed. */
  readonly name: string | undefined;
  /** Inside `headers`, `_meta`, `query` and the like, where a bare `tenant` is a parameter and not a word. */
  readonly enveloped: boolean;
}

type Looked = { readonly found?: ScopeKey; readonly inner: Place[] };

function look(place: Place, allowed: ReadonlySet<string>): Looked {
  const { value } = place;
  if (typeof value === 'string') return lookIntoText(value, place);
  if (typeof value !== 'object' || value === null) return { inner: [] };
  if (Array.isArray(value)) return lookIntoArray(value, place);
  return lookIntoObject(Object.entries(value), place, allowed);
}

function lookIntoArray(items: readonly unknown[], place: Place): Looked {
  const [first] = items;
  if (place.enveloped && items.length === 2 && typeof first === 'string' && isScopeKey(first)) {
    return { found: { path: place.path, key: first }, inner: [] };
  }
  return { inner: items.map((value, index) => ({ ...place, value, path: `${place.path}[${index}]` })) };
}

const ENTRY_NAMES: ReadonlySet<string> = new Set(['name', 'key', 'header', 'param', 'parameter', 'field']);
const ENTRY_VALUES: ReadonlySet<string> = new Set(['value', 'values', 'val']);
const ENVELOPES =
  /^(?:https?)?(?:request)?(?:headers?|cookies?|metadata|meta|query|querystring|params?|parameters|searchparams|form|formdata)$/;

function lookIntoObject(
  entries: readonly [string, unknown][],
  place: Place,
  allowed: ReadonlySet<string>,
): Looked {
  const inner: Place[] = [];
  const isEntry = entries.some(([key]) => ENTRY_VALUES.has(key.toLowerCase()));
  for (const [key, value] of entries) {
    const path = place.path === '' ? key : `${place.path}.${key}`;
    const name = joinedName(place.name, key);
    if (isScopeKey(key) && !(name !== undefined && allowed.has(name))) return { found: { path, key }, inner };
    if (isEntry && ENTRY_NAMES.has(key.toLowerCase()) && typeof value === 'string') {
      if (isScopeKey(value) && (place.enveloped || isCompound(value)))
        return { found: { path, key: value }, inner };
    }
    inner.push({ value, path, name, enveloped: place.enveloped || ENVELOPES.test(plainLetters(key)) });
  }
  return { inner };
}

function joinedName(parent: string | undefined, key: string): string | undefined {
  if (parent === undefined) return undefined;
  return parent === '' ? key : `${parent}.${key}`;
}

function lookIntoText(raw: string, place: Place): Looked {
  const text = raw
    .normalize('NFKC')
    .replace(/\p{Default_Ignorable_Code_Point}/gu, '')
    .trim();
  const inside = (what: string, value: unknown): Place => ({
    value,
    path: `${place.path} (${what})`,
    name: undefined,
    enveloped: place.enveloped,
  });

  if (/^[{["]/.test(text)) {
    const json = parsedJson(text);
    if (json !== undefined) return { inner: [inside('JSON', json)] };
    const key = keysOfNearlyJson(text).find(isScopeKey);
    if (key !== undefined) return { found: { path: `${place.path} (JSON)`, key }, inner: [] };
  }

  const header = headerNames(text, place.enveloped).find(isScopeKey);
  if (header !== undefined) return { found: { path: `${place.path} (header)`, key: header }, inner: [] };

  const inner: Place[] = [];
  for (const { key, value } of queryPairs(text)) {
    if (isScopeKey(key)) return { found: { path: `${place.path} (query)`, key }, inner: [] };
    if (/^[{["]/.test(value)) inner.push(inside('query', value));
  }
  if (/^%(?:7b|5b|22)/i.test(text)) inner.push(inside('encoded', percentDecoded(text)));
  return { inner };
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** JSON with comments, single quotes, trailing commas, bare keys, or several documents: other parsers read those. */
function keysOfNearlyJson(text: string): string[] {
  // "[urgent] …" is prose.
  if (!/^(?:\{|\[\s*[[{"'])/.test(text)) return [];
  const quoted = [...text.matchAll(/(["'])((?:\\.|(?!\1)[^\\\n]){1,200})\1\s*:/g)].map(([, , key = '']) =>
    key.replace(/\\u([0-9a-fA-F]{4})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
  );
  if (!(text.startsWith('{') && text.endsWith('}'))) return quoted;
  const bare = [...text.matchAll(/[{,]\s*([^\s"'{}[\],:]{1,80})\s*:/g)].map(([, key = '']) => key);
  return [...quoted, ...bare];
}

/**
 * Names of lines such as `X-Tenant-Id: globex`. In free text only unmistakable ones: a compound name with one word after
 * it, or an X- name. "Environment: Chrome 120" and "env: production is down" are what people write into tickets.
 */
function headerNames(text: string, enveloped: boolean): string[] {
  const names: string[] = [];
  for (const line of text.split(/[\r\n]+/)) {
    const [, name = '', value = ''] = /^\s*([^\s:]{1,80})\s*:\s*(.*)$/u.exec(line) ?? [];
    if (name === '' || value === '') continue;
    const unmistakable = /^x[-_]/i.test(name) || (isCompound(name) && /^\S+$/.test(value.trim()));
    if (enveloped || unmistakable) names.push(name);
  }
  return names;
}

const isCompound = (name: string) => /[^\p{L}\p{N}]/u.test(name.trim()) || /\p{Ll}\p{Lu}/u.test(name);

/**
 * `key=value` after `?`, `&`, `;` or `#`, and throughout a text that is a form or a cookie as a whole. In the middle of a
 * sentence `env=production` is prose.
 */
function queryPairs(text: string): { key: string; value: string }[] {
  const pairs = [...text.matchAll(/[?&;#]([^\s=&?#;]{1,200})=([^&;#\s]*)/g)];
  const isForm =
    /^[^\s=&?#;]{1,200}=/.test(text) && (/[&;]\s*[^\s=&?#;]{1,200}=/.test(text) || !/\s/.test(text));
  if (isForm) pairs.push(...text.matchAll(/(?:^|[&;]\s*)([^\s=&?#;]{1,200})=([^&;#\s]*)/g));
  return pairs.map(([, key = '', value = '']) => ({
    key: percentDecoded(key),
    value: percentDecoded(value),
  }));
}

/** Some servers decode twice. What is not valid stays as it is, as lenient servers leave it. */
function percentDecoded(text: string): string {
  let decoded = text.replaceAll('+', ' ');
  for (let round = 0; round < 3; round += 1) {
    decoded = decoded.replace(/(?:%[0-9a-f]{2})+/gi, (bytes) => {
      try {
        return decodeURIComponent(bytes);
      } catch {
        return bytes;
      }
    });
  }
  return decoded;
}

function isScopeKey(key: string): boolean {
  if (SCOPE_WORDS.has(skeleton(key))) return true;
  const parts = key.split(/[.[\]/:]+/u);
  return parts.length > 1 && parts.some((part) => SCOPE_WORDS.has(skeleton(part)));
}

/**
 * Two spellings that a person or a lenient parser takes for the same name have the same skeleton. v falls together with
 * n because Greek has ν, which is drawn as the one and meant as the other.
 */
function skeleton(text: string): string {
  return plainLetters(text)
    .replace(/[i1|]/g, 'l')
    .replaceAll('0', 'o')
    .replaceAll('rn', 'm')
    .replaceAll('v', 'n');
}

function plainLetters(text: string): string {
  const folded = [...text.normalize('NFKD').replace(/\p{M}/gu, '')]
    .map((letter) => LOOK_ALIKES.get(letter) ?? LOOK_ALIKES.get(letter.toLowerCase()) ?? letter.toLowerCase())
    .join('');
  return folded.replace(/[^\p{L}\p{N}|]/gu, '');
}

/** From Unicode's confusables, the letters that the names below are made of. Capitals first: Greek Ν is an N, ν a v. */
const LOOK_ALIKES: ReadonlyMap<string, string> = new Map(
  Object.entries({
    a: 'аɑαᴀΑꓮᎪ⍺',
    b: 'ВΒᏴꓐЬвʙƄ',
    c: 'сϲᴄСϹⅽꓚᏟ',
    d: 'ԁᴅⅾꓓᎠđժ',
    e: 'еεϵᴇЕΕҽꓰᎬ℮є',
    f: 'ꜰϝꓝƒ',
    g: 'ɡցɢԌꓖᏀ',
    h: 'һհʜНΗнꓧᎻћ',
    i: 'іιɩɪıΙІӏӀⅰꓲᎥլ',
    j: 'јϳᴊЈꓙᎫ',
    k: 'кκᴋКΚꓗᏦ',
    l: 'ʟⅼꓡᏞł',
    m: 'мᴍМΜⅿꓟᎷ',
    n: 'ոռɴΝηпꓠиŋ',
    o: 'оοоᴏОΟօσꓳøਠ௦०',
    p: 'рρᴘРΡꓑᏢ',
    q: 'ԛզ',
    r: 'гʀᴦꓣᎡг',
    s: 'ѕꜱЅꓢᏚ',
    t: 'тτᴛТΤꓔᎢŧ',
    u: 'υսᴜцμʋꓴ',
    v: 'νѵᴠⅴꓦᏙѴ',
    w: 'ԝωᴡшѡꓪᎳԜա',
    x: 'хχХΧⅹꓫ',
    y: 'уγʏҮΥУүꓬ',
    z: 'ᴢΖꓜᏃ',
  }).flatMap(([latin, others]) => [...others].map((other): [string, string] => [other, latin])),
);

const OWN_WORDS = [
  'tenant',
  'environment',
  'env',
  'org',
  'organization',
  'organisation',
  'workspace',
  'principal',
  'agent',
];
const SHARED_WORDS = ['account'];
const PREFIXES =
  'x target current active default my new old source src from to meta request requested caller effective override real actual owner parent'.split(
    ' ',
  );
const SUFFIXES = 'key keys name names slug code ref scope context override identifier handle alias'.split(
  ' ',
);
const ID_SUFFIXES = 'id ids uuid guid arn'.split(' ');
const PHRASES = [
  'onbehalfof',
  'actas',
  'actingas',
  'runas',
  'asuser',
  'impersonate',
  'impersonateuser',
  'callcontext',
];

const SCOPE_WORDS: ReadonlySet<string> = new Set([...scopeWords()].map(skeleton));

function* scopeWords(): Generator<string> {
  yield* PHRASES;
  for (const phrase of PHRASES) yield `x${phrase}`;
  const prefixes = ['', ...PREFIXES, ...PREFIXES.map((prefix) => `x${prefix}`)];
  for (const word of OWN_WORDS) {
    for (const prefix of prefixes) {
      for (const suffix of ['', 's', ...SUFFIXES, ...ID_SUFFIXES]) yield prefix + word + suffix;
    }
  }
  for (const word of SHARED_WORDS) {
    for (const prefix of ['', 'x', 'target', 'current', 'my', 'effective']) {
      for (const suffix of ID_SUFFIXES) yield prefix + word + suffix;
    }
  }
}
