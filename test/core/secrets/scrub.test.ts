import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { Credentials } from '../../../src/core/execution/credentials.ts';
import { errorForLog } from '../../../src/core/secrets/error-for-log.ts';
import { scrub, scrubbedError, scrubJson } from '../../../src/core/secrets/scrub.ts';

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
    ['in a URL within a URL', encodeURIComponent(`https://x/?t=${encodeURIComponent(secret)}`)],
    ['in JSON with everything beyond ASCII escaped', `p4ss\\"word/\\u00fc+`],
    ['in HTML', `<b>${secret.replace('"', '&quot;')}</b>`],
    ['in base64 in a URL', encodeURIComponent(Buffer.from(`user:${secret}`).toString('base64'))],
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

  it('blanks out each line of a key in PEM, and a secret without the blanks around it', () => {
    const pem = `-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ9\nsecondLineOfTheKey1234\n-----END PRIVATE KEY-----\n`;
    const both = new Credentials({ pem, padded: ' token-with-blanks\n' });
    expect(scrub('bad key near "secondLineOfTheKey1234"', both)).toBe('bad key near "[credential]"');
    expect(scrub('-----BEGIN PRIVATE KEY-----', both)).toBe('-----BEGIN PRIVATE KEY-----');
    expect(scrub('Bearer token-with-blanks', both)).toBe('Bearer [credential]');
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

describe('[execution:credentials-at-the-boundary] an error handed on in place of a thrown one', () => {
  it('says what it says through all its causes, and brings nothing else with it', () => {
    const cause = new AggregateError(
      [new Error(`first ${secret}`), `second ${secret}`],
      `all failed: ${secret}`,
    );
    const thrown = Object.assign(new Error(`POST /?t=${encodeURIComponent(secret)}`, { cause }), {
      config: { headers: { authorization: `Bearer ${secret}` } },
      [secret]: secret,
    });
    thrown.name = `Http ${secret}`;
    const clean = scrubbedError(thrown, credentials);
    const shown = inspect(clean, { depth: 20, showHidden: true });
    expect(shown).not.toContain('word/');
    expect(Object.keys(clean)).not.toContain('config');
    expect(clean.message).toBe('POST /?t=[credential]');
    expect(clean.cause).toBeInstanceOf(AggregateError);
    expect((clean.cause as AggregateError).errors.map(({ message }) => message)).toEqual([
      'first [credential]',
      'second [credential]',
    ]);
  });

  it('reads what is no error, what has no end, and what throws when it is read', () => {
    expect(scrubbedError(`just ${secret}`, credentials).message).toBe('just [credential]');
    const round = new Error('round');
    round.cause = round;
    expect(inspect(scrubbedError(round, credentials), { depth: 50 })).toContain('round');
    const trap = new Proxy(new Error('x'), {
      get() {
        throw new Error(secret);
      },
    });
    expect(scrubbedError(trap, credentials).message).toBe('something was thrown that cannot be read');
  });
});

describe('an error in the log', () => {
  it('is its name, code, words and place, without tokens, and nothing else of it', () => {
    const inner = Object.assign(new Error('NOAUTH'), {
      command: { name: 'auth', args: ['the-redis-password'] },
    });
    const thrown = Object.assign(
      new Error('xoxb-1-2-abc refused; Authorization: Bearer abc.def', { cause: inner }),
      {
        code: 'slack_error',
        original: { config: { headers: { Authorization: 'Bearer xoxb-1-2-abc' } } },
      },
    );
    const logged = JSON.stringify(errorForLog(thrown));
    for (const secret of ['xoxb-1', 'abc.def', 'the-redis-password']) expect(logged).not.toContain(secret);
    expect(errorForLog(thrown)).toMatchObject({
      type: 'Error',
      code: 'slack_error',
      message: '(token) refused; Authorization: (token)',
      cause: { message: 'NOAUTH' },
    });
    expect(errorForLog('xapp-1-A-b')).toEqual({ type: 'string', message: '(token)' });
  });
});
