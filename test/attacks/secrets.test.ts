import { describe, expect, it } from 'vitest';
import { Credentials } from '../../src/core/execution/credentials.ts';
import { scrub, scrubJson } from '../../src/core/secrets/scrub.ts';

/** Forms in which a downstream system gives a credential back. */

const secrets = [
  'hunter2/the+write=token',
  'with "quotes" and \\slashes\\',
  "pässwort!'()* ~",
  '𝒮ecret%20%2f',
];

const forms: [string, (secret: string) => string][] = [
  ['a header', (secret) => `Bearer ${secret}`],
  ['JSON', (secret) => JSON.stringify({ secret })],
  ['JSON within JSON', (secret) => JSON.stringify({ body: JSON.stringify({ secret }) })],
  ['a URL', (secret) => `https://x/?t=${encodeURIComponent(secret)}`],
  [
    'a URL in lower case',
    (secret) => encodeURIComponent(secret).replaceAll(/%../g, (octet) => octet.toLowerCase()),
  ],
  ['a form', (secret) => new URLSearchParams({ secret }).toString()],
  ['hex', (secret) => Buffer.from(secret).toString('hex')],
  ['HEX', (secret) => Buffer.from(secret).toString('hex').toUpperCase()],
  ['base64 at 0', (secret) => Buffer.from(secret).toString('base64')],
  ['base64 at 1', (secret) => Buffer.from(`abc:${secret}`).toString('base64')],
  ['base64 at 2', (secret) => Buffer.from(`ab${secret}xyz`).toString('base64url')],
];

describe.each(secrets)('the credential %j', (secret) => {
  const credentials = new Credentials({ token: secret });

  it.each(forms)('[execution:credentials-at-the-boundary] leaves no trace in %s', (_, form) => {
    const text = form(secret);
    const clean = scrub(text, credentials);
    expect(clean).toContain('[credential]');
    expect(clean.length).toBeLessThan(text.length);
    const json = scrubJson(JSON.stringify({ text, [text]: [text] }), credentials);
    expect(JSON.stringify(JSON.parse(json))).toBe(json);
    expect(json.split('[credential]').length).toBeGreaterThanOrEqual(4);
  });
});
