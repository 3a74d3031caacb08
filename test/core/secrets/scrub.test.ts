import { describe, expect, it } from 'vitest';
import { Credentials } from '../../../src/core/execution/credentials.ts';
import { scrub, scrubJson } from '../../../src/core/secrets/scrub.ts';

const secret = 'p4ss"word/ü+';
const credentials = new Credentials({
  user: 'acme-bot',
  token: secret,
  pin: '12',
  longer: `${secret}-and-more`,
});
const basic = (user: string) => Buffer.from(`${user}:${secret}`).toString('base64');

describe('[execution:credentials-at-the-boundary] scrubbing', () => {
  it.each([
    ['as it is', `401: ${secret}`],
    ['in JSON', JSON.stringify({ token: secret })],
    ['in a URL', `https://x/?t=${encodeURIComponent(secret)}`],
    ['in hex', Buffer.from(secret).toString('hex')],
    ['in base64', basic('u')],
    ['in base64, one byte later', basic('us')],
    ['in base64, two bytes later', basic('use')],
    ['in base64 for URLs', Buffer.from(`u:${secret}`).toString('base64url')],
  ])('blanks a secret out %s', (_, text) => {
    const clean = scrub(text, credentials);
    expect(clean).toContain('[credential]');
    const left = [clean, Buffer.from(clean, 'base64').toString(), decodeURIComponent(clean)];
    for (const form of left) expect(form).not.toContain('word');
  });

  it('blanks a longer secret out whole, although a shorter one begins it', () => {
    expect(scrub(`x ${secret}-and-more y`, credentials)).toBe('x [credential] y');
  });

  it('leaves other text alone, and values too short to be secrets', () => {
    expect(scrub('ticket 12 closed by acme', credentials)).toBe('ticket 12 closed by acme');
  });

  it('leaves JSON as it came where there is nothing to blank out', () => {
    expect(scrubJson('{"b":1.50,"a":[]}', credentials)).toBe('{"b":1.50,"a":[]}');
  });

  it('keeps JSON readable where the secret is a key, a value, or part of a number', () => {
    const numeric = new Credentials({ token: '81234' });
    const json = scrubJson('{"81234":"x81234y","n":981234,"m":7,"l":[null,true]}', numeric);
    expect(JSON.parse(json)).toEqual({
      '[credential]': 'x[credential]y',
      n: '[credential]',
      m: 7,
      l: [null, true],
    });
  });
});
