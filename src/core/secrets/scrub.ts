import type { Credentials } from '../execution/credentials.ts';

/** Shorter values are not secrets, and blanking them out would garble every message. */
const SECRET_MIN_LENGTH = 4;
/** From here on a single line of a longer secret, such as a key in PEM, is one of its own. */
const LINE_MIN_LENGTH = 16;
const BLANK = '[credential]';

/**
 * The text without any credential's value: as it is, in JSON, in JSON within JSON, in HTML, in a URL or a form, and in
 * base64 and hex, which are the forms in which downstream errors quote a header, a body or an address. A value that is
 * also a common word is blanked out all the same: a garbled message harms nobody.
 */
export function scrub(text: string, credentials: Credentials): string {
  // Longest first: one secret can be the beginning of another.
  const forms = Object.values(credentials.values)
    .flatMap(partsOf)
    .filter((secret) => secret.length >= SECRET_MIN_LENGTH)
    .flatMap(formsOf)
    .sort((a, b) => b.length - a.length);
  return forms.reduce((scrubbed, form) => scrubbed.replaceAll(form, BLANK), text);
}

/** The same for JSON text, which stays JSON also where a secret is part of a number. */
export function scrubJson(json: string, credentials: Credentials): string {
  let found = false;
  const clean = scrubbed(JSON.parse(json), (text) => {
    const without = scrub(text, credentials);
    found ||= without !== text;
    return without;
  });
  return found ? JSON.stringify(clean) : json;
}

/** Of a chain of causes: what led to an error is told so far. */
const DEEPEST = 5;

/**
 * An error to hand on in place of one that a tool threw: the names and words of it and of what caused it, scrubbed, and
 * nothing else. An HTTP client's error carries the whole request that it made, its headers and its body.
 */
export function scrubbedError(thrown: unknown, credentials: Credentials, depth = DEEPEST): Error {
  try {
    if (!(thrown instanceof Error)) return new Error(scrub(String(thrown), credentials));
    const inner = (error: unknown) => scrubbedError(error, credentials, depth - 1);
    const cause = thrown.cause === undefined || depth === 0 ? {} : { cause: inner(thrown.cause) };
    const message = scrub(String(thrown.message), credentials);
    const clean =
      thrown instanceof AggregateError && depth > 0
        ? new AggregateError(thrown.errors.map(inner), message, cause)
        : new Error(message, cause);
    clean.name = scrub(String(thrown.name), credentials);
    clean.stack = scrub(String(thrown.stack), credentials);
    return clean;
  } catch {
    return new Error('something was thrown that cannot be read');
  }
}

/** Without the blanks around it, as a header carries it; and each long line, as an error quotes a key in PEM. */
function partsOf(secret: string): string[] {
  const lines = secret.split(/\r?\n/).map((line) => line.trim());
  const long = lines.filter((line) => line.length >= LINE_MIN_LENGTH && !line.startsWith('-----'));
  return [...new Set([secret, secret.trim(), ...(lines.length > 1 ? long : [])])];
}

function scrubbed(value: unknown, clean: (text: string) => string): unknown {
  if (typeof value === 'string') return clean(value);
  if (typeof value === 'number') return clean(String(value)) === String(value) ? value : BLANK;
  if (Array.isArray(value)) return value.map((item) => scrubbed(item, clean));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [clean(key), scrubbed(item, clean)]));
}

function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret, 'utf8');
  const urls = [encodeURIComponent, encodeURI].map((encode) => encode(secret.toWellFormed()));
  const base64 = base64Forms(bytes);
  const jsons = [inJson(secret), inAsciiJson(secret), inAsciiJson(secret, (hex) => hex.toUpperCase())];
  const forms = [
    secret,
    // Some languages escape slashes as well.
    ...jsons.flatMap((json) => [json, json.replaceAll('/', '\\/')]).flatMap((json) => [json, inJson(json)]),
    inHtml(secret),
    inHtml(secret, (char) => `&#${char.charCodeAt(0)};`),
    ...urls.flatMap((url) => [
      url,
      encodeURIComponent(url),
      url.replaceAll(/%[0-9A-F]{2}/g, (octet) => octet.toLowerCase()),
    ]),
    new URLSearchParams({ v: secret }).toString().slice('v='.length),
    bytes.toString('hex'),
    bytes.toString('hex').toUpperCase(),
    ...base64,
    ...base64.map(encodeURIComponent),
  ];
  return [...new Set(forms)];
}

function inJson(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

/** As many languages write it: everything beyond ASCII escaped. */
function inAsciiJson(text: string, spelled = (hex: string) => hex): string {
  return inJson(text).replaceAll(
    /[^\x20-\x7e]/g,
    (unit) => `\\u${spelled(unit.charCodeAt(0).toString(16).padStart(4, '0'))}`,
  );
}

const HTML_NAMES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function inHtml(text: string, spelled = (char: string) => HTML_NAMES[char] ?? char): string {
  return text.replaceAll(/[&<>"']/g, spelled);
}

/**
 * Inside a longer base64 text (`Basic …` of `user:secret`) a value appears in one of three forms, by where it begins
 * modulo 3; the characters at either end, which also depend on its neighbours, are left out.
 */
function base64Forms(bytes: Buffer): string[] {
  return [0, 1, 2].flatMap((offset) => {
    const padded = Buffer.concat([Buffer.alloc(offset), bytes]);
    const first = Math.ceil((offset * 8) / 6);
    const last = Math.floor((padded.length * 8) / 6);
    const standard = padded.toString('base64').slice(first, last);
    const urlSafe = padded.toString('base64url').slice(first, last);
    return [standard, urlSafe].filter((form) => form.length >= SECRET_MIN_LENGTH);
  });
}
