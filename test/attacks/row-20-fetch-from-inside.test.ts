import { afterEach, expect, vi } from 'vitest';
import { z } from 'zod';
import { ToolRejected } from '../../src/core/execution/tool-rejected.ts';
import { defineTool } from '../../src/core/tool/tool.ts';
import { ExecutionFailed } from '../../src/guard/call-errors.ts';
import { PublicFetchFailed } from '../../src/outbound/fetch-public.ts';
import { isPublicAddress } from '../../src/outbound/public-address.ts';
import { publicHttpsUrl } from '../../src/outbound/public-https-url.ts';
import { internetForTests, PUBLIC_4, PUBLIC_6, refusalOf } from '../outbound/internet-for-tests.ts';
import { type AttackCase, attackRow } from './attack-row.ts';
import { attackedGuard, CONTEXT } from './attacked-guard.ts';

/** An agent that names a URL, and a stranger who owns the name in it and the server behind it. */

const internet = internetForTests();
// Other files run in this process.
afterEach(() => void vi.unstubAllEnvs());

const input = z.strictObject({ url: publicHttpsUrl() });
/** As the documentation says it for a tool whose only call this is. */
const fetched = async (url: string, signal: AbortSignal) => {
  const response = await internet.fetch(url, { signal }).catch((error: unknown) => {
    if (!(error instanceof PublicFetchFailed) || error.sent) throw error;
    throw new ToolRejected(error.code, error.message);
  });
  return { status: response.status, text: await response.text(), location: response.headers.get('location') };
};
const attacked = attackedGuard({
  tools: [
    defineTool({
      name: 'http.get',
      description: 'Reads a page.',
      effect: 'read',
      input,
      execute: ({ url }, run) => fetched(url, run.signal),
    }),
    defineTool({
      name: 'webhook.call',
      description: 'Calls a webhook.',
      effect: 'write',
      input,
      execute: ({ url }, run) => fetched(url, run.signal),
    }),
  ],
  policy: `
tools: { allow: [http.get, webhook.call] }
write_tools: { enabled: true }
approvals: { defaults: { approvers: ["user:U0ANA"] } }
tenants:
  acme:
    slack: { team: T0ACME, channel: C0ACME }
    environments: [production]
    limits: { pending_per_agent: 1000 }
`,
});

/** Not even proposed: nobody is shown such a URL, and its name is never looked up. */
const neverShown =
  (url: string): AttackCase[1] =>
  async () => {
    await attacked.refuses(
      { tool: 'webhook.call', args: { url } },
      { code: 'invalid_arguments', reason: 'schema', kind: 'call.malformed' },
    );
    await expect(attacked.guard.call({ tool: 'http.get', args: { url } }, CONTEXT)).rejects.toMatchObject({
      code: 'invalid_arguments',
    });
    // A tool that forgets the type in its schema is refused by the call itself.
    expect(await refusalOf(internet.fetch(url))).toBe('url_refused');
    expect([internet.resolved, internet.dialed]).toEqual([[], []]);
  };

/** The name is looked up once, and nobody is dialed. */
const neverDialed =
  (...answers: readonly string[]): AttackCase[1] =>
  async () => {
    internet.names.set('api.example.com', answers);
    const error = await attacked.guard
      .call({ tool: 'http.get', args: { url: 'https://api.example.com/' } }, CONTEXT)
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ExecutionFailed);
    expect(String(error)).toContain('address_refused');
    for (const answer of answers) expect(String(error)).not.toContain(answer);
    expect([internet.resolved, internet.dialed]).toEqual([['api.example.com'], []]);
  };

const get = async (url: string) => attacked.guard.call({ tool: 'http.get', args: { url } }, CONTEXT);

const urls: readonly (readonly [string, string])[] = [
  ['plain http', 'http://api.example.com/'],
  ['a file', 'file:///etc/passwd'],
  ['a data URL', 'data:text/plain,hello'],
  ['gopher to a local Redis', 'gopher://127.0.0.1:6379/_FLUSHALL'],
  ['a protocol that is left out', '//api.example.com/'],
  ['a web socket', 'wss://api.example.com/'],
  ['an https URL within another scheme', 'blob:https://api.example.com/'],
  ['a user', 'https://admin@api.example.com/'],
  ['a user and a password', 'https://a:b@api.example.com/'],
  ['a host that is a user in truth', 'https://api.example.com:443@evil.example.net/'],
  ['an empty user', 'https://@api.example.com/'],
  ['a user that looks like a host and a path', 'https://api.example.com%2F@evil.example.net/'],
  ['a backslash before an at sign', 'https://api.example.com\\@evil.example.net/'],
  ['backslashes for slashes', 'https:\\\\api.example.com\\'],
  ['one slash', 'https:/api.example.com/'],
  ['a fragment', 'https://api.example.com/#@evil.example.net/'],
  ['an empty fragment', 'https://api.example.com/#'],
  ['another port', 'https://api.example.com:6379/'],
  ['port 0', 'https://api.example.com:0/'],
  ['the usual port, spelled out', 'https://api.example.com:443/'],
  ['the usual port with zeros', 'https://api.example.com:00443/'],
  ['loopback', 'https://127.0.0.1/'],
  ['loopback in one number', 'https://2130706433/'],
  ['loopback in octal', 'https://0177.0.0.1/'],
  ['loopback in octal, whole', 'https://017700000001/'],
  ['loopback in hex', 'https://0x7f000001/'],
  ['loopback in parts of hex', 'https://0x7f.0x0.0x0.0x1/'],
  ['loopback in short', 'https://127.1/'],
  ['loopback with a dot at its end', 'https://127.0.0.1./'],
  ['loopback with percent signs', 'https://%31%32%37.0.0.1/'],
  ['loopback in full-width digits', 'https://１２７.０.０.１/'],
  ['loopback in circled digits', 'https://①②⑦.⓪.⓪.①/'],
  ['zero', 'https://0/'],
  ['zeros', 'https://0.0.0.0/'],
  ['a public address', 'https://93.184.215.14/'],
  ['the metadata of a cloud', 'https://169.254.169.254/latest/meta-data/'],
  ['IPv6 loopback', 'https://[::1]/'],
  ['IPv6 zero', 'https://[::]/'],
  ['IPv4 mapped into IPv6', 'https://[::ffff:127.0.0.1]/'],
  ['IPv4 mapped into IPv6, in hex', 'https://[::ffff:7f00:1]/'],
  ['IPv4 translated by NAT64', 'https://[64:ff9b::7f00:1]/'],
  ['6to4', 'https://[2002:7f00:1::]/'],
  ['a zone id', 'https://[fe80::1%25eth0]/'],
  ['a public IPv6 address', 'https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/'],
  ['localhost', 'https://localhost/'],
  ['localhost in capitals', 'https://LOCALHOST/'],
  ['localhost with a dot', 'https://localhost./'],
  ['a name below localhost', 'https://api.localhost/'],
  ['a name with no dot', 'https://redis/'],
  ['the metadata of a cloud by name', 'https://metadata.google.internal/'],
  ['a name of the local network', 'https://printer.local/'],
  ['a service of a cluster', 'https://vault.default.svc.cluster.local/'],
  ['a name of a company network', 'https://wiki.corp/'],
  ['an onion', 'https://expyuzz4wqqyqhjn.onion/'],
  ['the reverse tree', 'https://1.0.0.127.in-addr.arpa/'],
  ['a dot at the end of the host', 'https://api.example.com./'],
  ['two dots in the host', 'https://api..example.com/'],
  ['a host of Cyrillic letters that look Latin', 'https://аpi.example.com/'],
  ['a host in mixed scripts', 'https://exаmple.com/'],
  ['an ideographic full stop', 'https://api。example。com/'],
  ['a soft hyphen in the host', 'https://api.exam\u00adple.com/'],
  ['a zero-width space in the host', 'https://api.exam\u200bple.com/'],
  ['a label of bad punycode', 'https://xn--a.example.com/'],
  ['capitals in the host', 'https://API.example.com/'],
  ['a percent sign in the host', 'https://api.ex%61mple.com/'],
  ['dots in the path that climb', 'https://api.example.com/public/../admin'],
  ['dots in the path that climb, encoded', 'https://api.example.com/public/%2e%2e/admin'],
  ['no path', 'https://api.example.com'],
  ['a tab within the scheme', 'ht\ttps://api.example.com/'],
  ['a line break in the path', 'https://api.example.com/a\r\nhost: inside'],
  ['a space before it', ' https://api.example.com/'],
  ['an override of direction in the path', 'https://api.example.com/\u202egnp.exe'],
  ['a host of 254 characters', `https://${'a.'.repeat(125)}exam/`],
  ['a label of 64 characters', `https://${'a'.repeat(64)}.example.com/`],
  ['a label that begins with a hyphen', 'https://-api.example.com/'],
  ['a star for a host', 'https://*.example.com/'],
];

const addresses: readonly (readonly [string, readonly string[]])[] = [
  ['loopback', ['127.0.0.1']],
  ['all of loopback', ['127.255.255.254']],
  ['10/8', ['10.0.0.1']],
  ['172.16/12, its last', ['172.31.255.255']],
  ['192.168/16', ['192.168.1.1']],
  ['a carrier’s network', ['100.64.0.1']],
  ['the metadata of a cloud', ['169.254.169.254']],
  ['the metadata of another cloud', ['100.100.100.200']],
  ['the host of a third cloud, at a public address', ['168.63.129.16']],
  ['this network', ['0.0.0.0']],
  ['protocol assignments', ['192.0.0.192']],
  ['documentation', ['203.0.113.7']],
  ['benchmarks', ['198.19.0.1']],
  ['the 6to4 relay', ['192.88.99.1']],
  ['multicast', ['224.0.0.251']],
  ['reserved', ['240.0.0.1']],
  ['broadcast', ['255.255.255.255']],
  ['IPv6 loopback', ['::1']],
  ['IPv6 zero', ['::']],
  ['loopback mapped into IPv6', ['::ffff:127.0.0.1']],
  ['loopback mapped into IPv6, in hex', ['::ffff:7f00:1']],
  ['a public IPv4 mapped into IPv6', ['::ffff:93.184.215.14']],
  ['loopback made compatible with IPv6', ['::7f00:1']],
  ['NAT64', ['64:ff9b::a00:1']],
  ['a NAT64 of one’s own', ['64:ff9b:1::a00:1']],
  ['Teredo', ['2001:0:4136:e378:8000:63bf:3fff:fdd2']],
  ['ORCHID', ['2001:20::1']],
  ['6to4 of loopback', ['2002:7f00:1::']],
  ['IPv6 documentation', ['2001:db8::1']],
  ['new IPv6 documentation', ['3fff::1']],
  ['segment routing', ['5f00::1']],
  ['unique local', ['fd00:ec2::254']],
  ['link-local', ['fe80::1']],
  ['link-local with a zone', ['fe80::1%eth0']],
  ['a public address with a zone', ['2606:2800:21f:cb07:6820:80da:af6b:8b2c%lo']],
  ['site-local', ['fec0::1']],
  ['IPv6 multicast', ['ff02::1']],
  ['the discard prefix', ['100::1']],
  ['something that is no address', ['127.1']],
  ['a public and a private address', [PUBLIC_4, '10.0.0.1']],
  ['a private one behind public ones', [PUBLIC_6, PUBLIC_4, PUBLIC_4, PUBLIC_4, PUBLIC_4, '::1']],
];

const redirects: readonly (readonly [number, string])[] = [
  [301, 'https://169.254.169.254/'],
  [302, 'http://127.0.0.1:6379/'],
  [303, '/elsewhere'],
  [307, 'https://api.example.com/'],
  [308, '//localhost/'],
];

attackRow(20, {
  attacks: [
    ...urls.map(([what, url]): AttackCase => [`[proposal:frozen] a URL with ${what}`, neverShown(url)]),
    ...addresses.map(
      ([what, answers]): AttackCase => [`a name that leads to ${what}`, neverDialed(...answers)],
    ),
    ...redirects.map(
      ([status, location]): AttackCase => [
        `a redirect by ${status} to ${location} is given back and not followed`,
        async () => {
          internet.answer = (response) => void response.writeHead(status, { location }).end('moved');
          expect(await get('https://api.example.com/')).toEqual({ status, location, text: 'moved' });
          expect([internet.resolved, internet.dialed]).toEqual([['api.example.com'], [`${PUBLIC_4} 443`]]);
          expect(internet.received).toHaveLength(1);
        },
      ],
    ),
    [
      'a name that is public when it is checked and private when it is asked again',
      async () => {
        let asked = 0;
        const rebinding = {
          ...internet.network,
          resolve: async () => {
            asked += 1;
            return asked === 1 ? [PUBLIC_4] : ['127.0.0.1'];
          },
        };
        const response = await internet.fetch('https://api.example.com/', { network: rebinding });
        expect(response.status).toBe(200);
        // The one answer that was judged is the one that is dialed; a second call is judged by its own.
        expect([asked, internet.dialed]).toEqual([1, [`${PUBLIC_4} 443`]]);
        const again = internet.fetch('https://api.example.com/', { network: rebinding });
        expect(await refusalOf(again)).toBe('address_refused');
        expect(internet.dialed).toHaveLength(1);
      },
    ],
    [
      'a resolver whose list changes after it was looked at',
      async () => {
        const answers = [PUBLIC_4];
        const changing = {
          resolve: async () => answers,
          dial: (address: string, port: number) => {
            answers.splice(0, 3, '127.0.0.1', '127.0.0.1', '127.0.0.1');
            const socket = internet.network.dial(address, port);
            setImmediate(() => socket.destroy(new Error('gone')));
            return socket;
          },
        };
        await internet.fetch('https://api.example.com/', { network: changing }).catch(() => {});
        expect(internet.dialed.filter((dialed) => !dialed.startsWith(PUBLIC_4))).toEqual([]);
      },
    ],
    [
      'a private address whose server has a good certificate of the name',
      async () => {
        internet.names.set('api.example.com', ['10.0.0.1']);
        expect(await refusalOf(internet.fetch('https://api.example.com/'))).toBe('address_refused');
        expect(internet.received).toEqual([]);
      },
    ],
    [
      'an environment that turns the check of certificates off',
      async () => {
        vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
        internet.names.set('inside.example.net', [PUBLIC_4]);
        expect(await refusalOf(internet.fetch('https://inside.example.net/'))).toBe('not_connected');
        expect(internet.received).toEqual([]);
      },
    ],
    [
      'an environment that sends every call through a proxy',
      async () => {
        for (const name of ['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'NODE_USE_ENV_PROXY']) {
          vi.stubEnv(name, 'http://127.0.0.1:9');
        }
        expect((await internet.fetch('https://api.example.com/')).status).toBe(200);
        expect(internet.dialed).toEqual([`${PUBLIC_4} 443`]);
      },
    ],
  ],
  twins: [
    [
      'the same URL in its normal form is shown and called, byte by byte',
      async () => {
        const url = 'https://api.example.com/public/..a/%2F?next=http://127.0.0.1/&x=%C3%BC';
        const handle = await attacked.accepts({ tool: 'webhook.call', args: { url } });
        await handle.withdraw();
        expect(await get(url)).toMatchObject({ status: 200, text: 'hello' });
        expect(internet.received.map(({ line }) => line)).toEqual([`GET ${url.slice(23)}`]);
      },
    ],
    [
      'a host in punycode, which the card shows as it is called',
      async () => {
        internet.names.set('xn--bcher-kva.example.org', [PUBLIC_6]);
        expect(await get('https://xn--bcher-kva.example.org/')).toMatchObject({ status: 200 });
        expect(internet.dialed).toEqual([`${PUBLIC_6} 443`]);
      },
    ],
    [
      'a name with several public addresses',
      async () => {
        internet.names.set('api.example.com', [PUBLIC_6, PUBLIC_4]);
        expect(await get('https://api.example.com/')).toMatchObject({ status: 200 });
      },
    ],
    [
      'the addresses beside the ranges',
      () => {
        const beside = ['9.255.255.255', '11.0.0.0', '100.63.255.255', '100.128.0.0', '126.255.255.255'];
        beside.push('128.0.0.0', '169.253.255.255', '172.15.255.255', '172.32.0.0', '192.167.255.255');
        beside.push('192.169.0.0', '198.17.255.255', '198.20.0.0', '223.255.255.255', '168.63.129.17');
        beside.push('2001:200::1', '2001:db7:ffff::1', '2003::1', '2600::1', '3ffe::1');
        expect(beside.filter((address) => !isPublicAddress(address))).toEqual([]);
      },
    ],
    [
      'another port and another authority, where the tool’s author says so',
      async () => {
        const url = 'https://api.example.com:8443/';
        expect((await internet.fetch(url, { ports: [8443] })).status).toBe(200);
        expect(internet.dialed).toEqual([`${PUBLIC_4} 8443`]);
        expect(internet.received[0]?.headers.host).toBe('api.example.com:8443');
      },
    ],
  ],
});
