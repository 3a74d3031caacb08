import { type JsonLimits, type JsonValue, parseStrictJson } from './strict-json.ts';

/**
 * Whose data a call touches comes from the authenticated context. A model that is talked into writing `tenant_id` next
 * to honest arguments must find no tool that reads it, so such keys are refused wherever they could be read from:
 *
 * - keys at any depth, however they are spelled: case, separators, full-width and other compatibility forms, accents,
 *   zero-width characters, Cyrillic, Greek and other look-alikes; dotted and bracketed keys part by part;
 * - entries (`{ name: 'X-Tenant-Id', value }`);
 * - strings that are JSON (or nearly: JSON5, JSON lines; in base64, and so in a JWT), XML elements, queries and forms
 *   (`?tenant_id=…`, `a=1&tenantId=…`, percent-encoded too, multipart), and header lines (`X-Tenant-Id: …`).
 *
 * Which names: the fields of our own context (tenant, environment, agent, principal) and what else products call the
 * same thing (org, workspace), alone or with the usual prefixes and suffixes; what ends in a tenant (`query_tenant_id`) is
 * one whatever stands before it. `account` is a customer as often as it is
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
  const pending: Place[] = [{ value, path: '', name: '', enveloped: false, queries: 0 }];
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
  /** Within so many queries. */
  readonly queries: number;
}

/** No server reads a query out of a query out of a query more often; without an end, looking would take for ever. */
const MOST_QUERIES = 3;

type Looked = { readonly found?: ScopeKey; readonly inner: Place[] };

function look(place: Place, allowed: ReadonlySet<string>): Looked {
  const { value } = place;
  if (typeof value === 'string') return lookIntoText(value, place);
  if (typeof value !== 'object' || value === null) return { inner: [] };
  if (Array.isArray(value)) return lookIntoArray(value, place);
  return lookIntoObject(Object.entries(value), place, allowed);
}

function lookIntoArray(items: readonly unknown[], place: Place): Looked {
  const [first, operator] = items;
  // A condition: ['tenant_id', '=', 'globex'].
  if (items.length === 3 && typeof first === 'string' && isOperator(operator) && isScopeKey(first)) {
    return { found: { path: place.path, key: first }, inner: [] };
  }
  if (place.enveloped && items.length % 2 === 0) {
    // A pair, or names and values in turn, as Node's rawHeaders has them.
    const isName = (item: unknown, index: number): item is string =>
      index % 2 === 0 && typeof item === 'string' && isScopeKey(item);
    const key = items.find((item, index) => isName(item, index) && (items.length === 2 || isCompound(item)));
    if (typeof key === 'string') return { found: { path: place.path, key }, inner: [] };
  }
  return { inner: items.map((value, index) => ({ ...place, value, path: `${place.path}[${index}]` })) };
}

const isOperator = (item: unknown) =>
  typeof item === 'string' && /^(?:[=!<>]{1,3}|eq|ne|in|is|like|equals)$/i.test(item);

const ENTRY_NAMES: ReadonlySet<string> = new Set(
  'name key k header param parameter field column property attribute'.split(' '),
);
const ENTRY_VALUES: ReadonlySet<string> = new Set('value values val v eq equals in'.split(' '));
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
    const enveloped = place.enveloped || ENVELOPES.test(plainLetters(key));
    inner.push({ value, path, name, enveloped, queries: place.queries });
  }
  return { inner };
}

function joinedName(parent: string | undefined, key: string): string | undefined {
  if (parent === undefined) return undefined;
  return parent === '' ? key : `${parent}.${key}`;
}

function lookIntoText(raw: string, place: Place): Looked {
  const text = withoutIgnorable(raw.normalize('NFKC')).trim();
  const inside = (what: string, value: unknown): Place => ({
    value,
    path: `${place.path} (${what})`,
    name: undefined,
    enveloped: place.enveloped,
    queries: place.queries,
  });

  const inner: Place[] = [];
  const json = text.replace(LEADING_COMMENTS, '');
  if (/^[{["]/.test(json)) {
    const value = parsedJson(json);
    if (value !== undefined) inner.push(inside('JSON', value));
    const key = oneReading(json) ? undefined : keysOfNearlyJson(json).find(isScopeKey);
    if (key !== undefined) return { found: { path: `${place.path} (JSON)`, key }, inner: [] };
    if (value !== undefined) return { inner };
  }
  for (const decoded of fromBase64(text)) inner.push(inside('base64', decoded));

  const element = namesInXml(text).find(isScopeKey);
  if (element !== undefined) return { found: { path: `${place.path} (XML)`, key: element }, inner: [] };

  const cookies = /^[ \t]*(?:set-)?cookie[ \t]*:(.*)/im.exec(text)?.[1];
  if (cookies !== undefined) inner.push(inside('cookie', cookies));
  const header = headerNames(text, place.enveloped).find(isScopeKey);
  if (header !== undefined) return { found: { path: `${place.path} (header)`, key: header }, inner: [] };

  const within = new Set<string>();
  for (const { key, value } of queryPairs(text)) {
    if (isScopeKey(key)) return { found: { path: `${place.path} (query)`, key }, inner: [] };
    // Whatever is decoded once may hold a whole query, or JSON.
    if (/[={["]/.test(value)) within.add(value);
  }
  if (place.queries < MOST_QUERIES) {
    const queries = place.queries + 1;
    inner.push(...[...within].map((value) => ({ ...inside('query', value), queries })));
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

/** JSON5 and its like have comments, also before everything; what a model writes has a fence there. */
const LEADING_COMMENTS = /^(?:\s|```\w*\s|\/\/[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/)+/;

/** As deep and as large as an argument can hold: here it is only asked whether every parser reads the same. */
const ANY_SIZE: JsonLimits = { bytes: 1e6, depth: 64, keys: 1e5, keyLength: 1e5, stringLength: 1e6 };

/** Of a key that stands twice one parser sees the first value, and JSON.parse the last. */
const oneReading = (json: string): boolean => parseStrictJson(json, ANY_SIZE).ok;

/** Of elements that end, and of attributes. */
function namesInXml(text: string): string[] {
  const elements = [...text.matchAll(ELEMENT)].map(([, name = '']) => name);
  const attributes = [...text.matchAll(/<[a-z][^<>]{0,1000}>/gi)].flatMap(([tag]) =>
    [...tag.matchAll(/\s([^\s<>/="']{1,80})=/gu)].map(([, name = '']) => name),
  );
  return [...elements, ...attributes];
}

const ELEMENT = /<([^\s<>/="']{1,80})[^<>]{0,200}>[^<]{0,200}<\/\1\s*>/gu;

/** JSON alone: whatever else base64 holds is no text that a tool reads names from. */
function fromBase64(text: string): string[] {
  const data = text.replace(/^(?:bearer\s+|data:[^,]{0,100};base64,)/i, '');
  if (!/^[\w+/-]{8,}={0,2}(?:\.[\w-]*={0,2}){0,2}$/.test(data)) return [];
  return data
    .split('.')
    .map((part) => Buffer.from(part, 'base64').toString('utf8'))
    .filter((decoded) => /^\s*[{[]\s*["'{[\]}]/.test(decoded));
}

/** JSON with comments, single quotes, trailing commas, bare keys, or several documents: other parsers read those. */
function keysOfNearlyJson(text: string): string[] {
  // "[urgent] …" is prose.
  if (!/^(?:\{|\[\s*[[{"'])/.test(text)) return [];
  const quoted: string[] = [];
  // JSON within JSON has its quotes escaped, once more on each level.
  for (let [level, inside] = [0, text]; level < 4; level += 1) {
    quoted.push(...quotedKeys(inside));
    inside = inside.replace(/\\(["'\\])/g, '$1');
  }
  if (!(text.startsWith('{') && text.endsWith('}'))) return quoted;
  const bare = [...text.matchAll(/[{,]\s*([^\s"'{}[\],:]{1,80})\s*:/g)].map(([, key = '']) => key);
  return [...quoted, ...bare];
}

function quotedKeys(text: string): string[] {
  return [...text.matchAll(/(["'])((?:\\.|(?!\1)[^\\\n]){1,200})\1\s*:/g)].map(([, , key = '']) =>
    key.replace(/\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))/g, (_, four?: string, two?: string) =>
      String.fromCharCode(Number.parseInt(four ?? two ?? '', 16)),
    ),
  );
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
  // As files of variables have it.
  if (/^(?:[^\s=]{1,200}=[^\n]*(?:\n|$))+$/.test(text)) {
    pairs.push(...text.matchAll(/^([^\s=]{1,200})=(.*)$/gm));
  }
  if (isForm) pairs.push(...text.matchAll(/(?:^|[&;]\s*)([^\s=&?#;]{1,200})=([^&;#\s]*)/g));
  pairs.push(...text.matchAll(/form-data;\s*name="?([^"\s;]{1,200})()/gi));
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

/** Longer than any name: what is looked for in it would only cost time. */
const LONGEST_NAME = 400;

function isScopeKey(key: string): boolean {
  if (key.length > LONGEST_NAME) return false;
  if (isScopeWord(key) || endsInTenant(key)) return true;
  const parts = key.split(/[.[\]/:]+/u);
  return parts.length > 1 && parts.some(isScopeWord);
}

/** Also with a number behind it: `tenant_2`. */
function isScopeWord(text: string): boolean {
  const letters = plainLetters(text);
  return SCOPE_WORDS.has(skeletonOf(letters)) || SCOPE_WORDS.has(skeletonOf(letters.replace(/[0-9]+$/, '')));
}

/** By words, not letters: a lieutenant is no tenant. */
function endsInTenant(key: string): boolean {
  const words = withoutIgnorable(key.normalize('NFKC'))
    .replace(/(\p{Ll})(?=\p{Lu})/gu, '$1 ')
    .split(/[^\p{L}\p{M}\p{N}]+/u);
  return [1, 2].some((count) => TENANT_WORDS.has(skeleton(words.slice(-count).join(''))));
}

const withoutIgnorable = (text: string) => text.replace(/\p{Default_Ignorable_Code_Point}/gu, '');

/**
 * Two spellings that a person or a lenient parser takes for the same name have the same skeleton. v falls together with
 * n because Greek has ν, which is drawn as the one and meant as the other.
 */
function skeleton(text: string): string {
  return skeletonOf(plainLetters(text));
}

function skeletonOf(letters: string): string {
  return letters.replace(/[i1|]/g, 'l').replaceAll('0', 'o').replaceAll('rn', 'm').replaceAll('v', 'n');
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
const ID_SUFFIXES = 'id ids uid uuid guid oid arn'.split(' ');
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

const TENANT_WORDS: ReadonlySet<string> = new Set(
  ['', 's', 'key', 'name', 'slug', 'code', 'ref', ...ID_SUFFIXES].map((suffix) =>
    skeleton(`tenant${suffix}`),
  ),
);

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
