import type { Credentials } from '../execution/credentials.ts';

/** Shorter values are not secrets, and blanking them out would garble every message. */
const SECRET_MIN_LENGTH = 4;
const BLANK = '[credential]';

/**
 * The text without any credential's value: as it is, in JSON, in JSON within JSON, in a URL or a form, and in base64
 * and hex, which are the forms in which downstream errors quote a header, a body or an address.
 */
export function scrub(text: string, credentials: Credentials): string {
  // Longest first: one secret can be the beginning of another.
  const forms = Object.values(credentials.values)
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

function scrubbed(value: unknown, clean: (text: string) => string): unknown {
  if (typeof value === 'string') return clean(value);
  if (typeof value === 'number') return clean(String(value)) === String(value) ? value : BLANK;
  if (Array.isArray(value)) return value.map((item) => scrubbed(item, clean));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [clean(key), scrubbed(item, clean)]));
}

function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret, 'utf8');
  const inUrl = encodeURIComponent(secret.toWellFormed());
  const forms = [
    secret,
    inJson(secret),
    inJson(inJson(secret)),
    inUrl,
    inUrl.replaceAll(/%[0-9A-F]{2}/g, (octet) => octet.toLowerCase()),
    new URLSearchParams({ v: secret }).toString().slice('v='.length),
    bytes.toString('hex'),
    bytes.toString('hex').toUpperCase(),
    ...base64Forms(bytes),
  ];
  return [...new Set(forms)];
}

function inJson(text: string): string {
  return JSON.stringify(text).slice(1, -1);
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
