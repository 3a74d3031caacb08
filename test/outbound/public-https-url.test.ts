import { isIP } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineTool, toolDigest } from '../../src/core/tool/tool.ts';
import { freezeArguments } from '../../src/core/tool/tool-call.ts';
import { isPublicAddress } from '../../src/outbound/public-address.ts';
import { judgePublicUrl, type PublicUrlRules, publicHttpsUrl } from '../../src/outbound/public-https-url.ts';

const toolWith = (rules: PublicUrlRules) =>
  defineTool({
    name: 'http.get',
    description: 'Reads a page.',
    effect: 'read',
    input: z.strictObject({ url: publicHttpsUrl(rules) }),
    execute: () => null,
  });

function issuesOf(url: string, rules: PublicUrlRules = {}): readonly string[] {
  const frozen = freezeArguments(toolWith(rules), { url });
  return frozen.ok ? [] : frozen.issues;
}

describe('publicHttpsUrl', () => {
  it.each([
    'https://example.com/',
    'https://sub-1.example.co.uk/a/b?c=d&e=%20f',
    'https://xn--bcher-kva.example.com/',
    'https://1e100.net/',
    'https://example.com/?',
    'https://example.com/@other.example.net/%5c%2F..a',
  ])('takes %s as it stands', (url) => {
    const frozen = freezeArguments(toolWith({}), { url });
    expect(frozen).toMatchObject({ ok: true, value: { url } });
  });

  it.each([
    ['HTTPS://Example.COM', 'https://example.com/'],
    ['https://example.com:443/', 'https://example.com/'],
    ['https://example.com/a/../b', 'https://example.com/b'],
    ['https://bücher.example.com/', 'https://xn--bcher-kva.example.com/'],
    ['https://example.com/ü', 'https://example.com/%C3%BC'],
    [' https://example.com/', 'https://example.com/'],
  ])('[proposal:frozen] refuses %s and says how it is written', (url, right) => {
    expect(issuesOf(url)).toEqual([`"url": the URL is not in its normal form; write ${right}`]);
    expect(issuesOf(right)).toEqual([]);
  });

  it('repeats no more than 60 characters of what it refuses', () => {
    const [issue = ''] = issuesOf(`https://example.com/${'a'.repeat(500)}/../b${'c'.repeat(500)}`);
    expect(issue.length).toBeLessThan(130);
    expect(issuesOf(`https://example.com/${'a'.repeat(2_000)}`)).toEqual([
      '"url": the URL is longer than 2000 characters',
    ]);
  });

  it('calls the ports and the hosts that it was given', () => {
    const rules = { ports: [443, 8443], hosts: ['example.com', '*.example.org'] };
    for (const url of ['https://example.com:8443/', 'https://a.example.org/', 'https://b.a.example.org/']) {
      expect(issuesOf(url, rules)).toEqual([]);
    }
    for (const host of ['example.org', 'a.example.com', 'badexample.org', 'example.org.example.net']) {
      expect(issuesOf(`https://${host}/`, rules)).toEqual([
        `"url": ${host} is none of the hosts that are called`,
      ]);
    }
    expect(issuesOf('https://example.com:9443/', rules)).toEqual([
      '"url": port 9443 is not called; only 443, 8443',
    ]);
  });

  it('[approval:bound-to-everything] makes another tool of other hosts: they stand in the schema that models see', () => {
    const [any, some] = [toolWith({}), toolWith({ hosts: ['example.com'] })];
    expect(JSON.stringify(some.inputSchema)).toContain('on example.com, port 443');
    expect(toolDigest(any)).not.toBe(toolDigest(some));
  });

  it('[proposal:frozen] takes no text that any URL parser would have to change first, and no address', () => {
    const odd = fc.constantFrom(
      ...'@:/\\?#%.[]\t\r\n \u3002\u00ad\u200b\u0430xn--0x7f',
      '..',
      '%2e',
      '127.1',
      '::1',
    );
    const host = fc.constantFrom('example.com', 'a-1.example.co.uk', 'xn--bcher-kva.example.com');
    const path = fc.string({ unit: fc.constantFrom(...'ab/?&=%2e.~@:;!'), maxLength: 12 });
    const whole = fc.tuple(host, path).map(([name, rest]) => `https://${name}/${rest}`);
    const piece = fc.oneof(odd, fc.ipV4Extended(), fc.string({ maxLength: 3 }));
    // A sound URL, at times with something put in somewhere.
    const url = fc.tuple(whole, fc.array(fc.tuple(fc.nat(), piece), { maxLength: 2 })).map(([sound, put]) =>
      put.reduce((text, [at, odd]) => {
        const place = at % (text.length + 1);
        return text.slice(0, place) + odd + text.slice(place);
      }, sound),
    );
    let taken = 0;
    fc.assert(
      fc.property(url, (candidate) => {
        const judged = judgePublicUrl(candidate);
        if (!judged.ok) return;
        taken += 1;
        const { origin, host, port, path } = judged.url;
        expect(`${origin}${path}`).toBe(candidate);
        expect(new URL(candidate).href).toBe(candidate);
        expect(candidate).toMatch(/^https:\/\/[a-z0-9.-]+\/[\x21-\x7e]*$/);
        expect([host.includes('.'), isIP(host), port]).toEqual([true, 0, 443]);
      }),
      { numRuns: 1_000 },
    );
    expect(taken).toBeGreaterThan(50);
  });

  it('takes no inner address for public, in whatever IPv6 it is wrapped', () => {
    const inner = fc.oneof(
      ...['10', '127', '0', '169.254', '192.168', '172.16', '100.64', '224', '255'].map((start) =>
        fc.ipV4().map((address) => [...start.split('.'), ...address.split('.')].slice(0, 4).join('.')),
      ),
    );
    fc.assert(
      fc.property(inner, (address) => {
        const hex = address.split('.').map((part) => Number(part).toString(16).padStart(2, '0'));
        const words = `${hex[0]}${hex[1]}:${hex[2]}${hex[3]}`;
        const wrapped = [
          `::ffff:${address}`,
          `::ffff:${words}`,
          `::${words}`,
          `64:ff9b::${words}`,
          `2002:${words}::1`,
        ];
        expect([address, ...wrapped].filter(isPublicAddress)).toEqual([]);
      }),
    );
  });
});
