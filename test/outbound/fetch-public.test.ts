import { once } from 'node:events';
import { createServer, connect as plain } from 'node:net';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { PublicFetchFailed } from '../../src/outbound/fetch-public.ts';
import { MACHINE_NETWORK } from '../../src/outbound/network.ts';
import { certificateFor } from './certificate-for-tests.ts';
import { failureOf, internetForTests, PUBLIC_4, PUBLIC_6, refusalOf } from './internet-for-tests.ts';

const internet = internetForTests();

const URL = 'https://api.example.com/v1/items?q=a%20b&r=%2e';

/** A busy machine may not even connect within so little: then with more. */
async function failureWithin(timeoutMs: number): Promise<string> {
  try {
    return await failureOf(internet.fetch(URL, { timeoutMs }));
  } catch (error) {
    if (timeoutMs > 10_000) throw error;
    return failureWithin(2 * timeoutMs);
  }
}

describe('fetchPublic', () => {
  it('sends exactly the path and query of the URL, and the headers and body that it was given', async () => {
    const response = await internet.fetch(URL, {
      method: 'POST',
      headers: { 'X-Key': 'k1', 'content-type': 'application/json' },
      body: '{"a":1}',
    });
    expect(await response.text()).toBe('hello');
    expect(internet.received).toEqual([
      {
        line: 'POST /v1/items?q=a%20b&r=%2e',
        headers: {
          host: 'api.example.com',
          connection: 'close',
          'x-key': 'k1',
          'content-type': 'application/json',
          'content-length': '7',
          'accept-encoding': 'identity',
        },
        body: '{"a":1}',
      },
    ]);
  });

  it('gives status, headers and body of the answer as they came', async () => {
    internet.answer = (response) => {
      response.writeHead(404, { 'content-type': 'application/json', 'set-cookie': ['a=1', 'b=2'] });
      response.end('{"error":"none"}');
    };
    const response = await internet.fetch(URL);
    expect([response.status, response.ok, await response.json()]).toEqual([404, false, { error: 'none' }]);
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
  });

  it('gives an answer that has no body', async () => {
    internet.answer = (response) => void response.writeHead(204).end();
    expect((await internet.fetch(URL, { method: 'DELETE' })).status).toBe(204);
    internet.answer = (response) => void response.writeHead(200, { 'content-length': 5 }).end();
    expect((await internet.fetch(URL, { method: 'HEAD' })).headers.get('content-length')).toBe('5');
  });

  it('keeps nothing between calls: no cookie, no connection', async () => {
    internet.answer = (response) => void response.writeHead(200, { 'set-cookie': 'session=1' }).end();
    await internet.fetch(URL);
    await internet.fetch(URL);
    expect(internet.dialed).toEqual([`${PUBLIC_4} 443`, `${PUBLIC_4} 443`]);
    expect(internet.received.map(({ headers }) => headers.cookie)).toEqual([undefined, undefined]);
  });

  it('tries the next address where one does not answer', async () => {
    internet.names.set('api.example.com', [PUBLIC_6, PUBLIC_4]);
    const dead = createServer().listen(0, '127.0.0.1');
    await once(dead, 'listening');
    const address = dead.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    await new Promise((closed) => dead.close(closed));
    const dial = (to: string, on: number) =>
      to === PUBLIC_6 ? plain(port, '127.0.0.1') : internet.network.dial(to, on);
    const network = { ...internet.network, dial };
    expect(await (await internet.fetch(URL, { network })).text()).toBe('hello');
    expect(internet.dialed).toEqual([`${PUBLIC_4} 443`]);
  });

  it('does not send a call again whose connection broke', async () => {
    internet.answer = (response) => void response.destroy();
    expect(await failureOf(internet.fetch(URL, { method: 'POST', body: 'pay' }))).toBe('broken');
    expect(internet.received.map(({ line }) => line)).toEqual(['POST /v1/items?q=a%20b&r=%2e']);
  });

  it('gives up an answer that never ends, in its headers or in its body', async () => {
    internet.answer = () => {};
    expect(await failureWithin(200)).toBe('timed_out');
    internet.answer = (response) => {
      response.write('drop');
      const drops = setInterval(() => response.write('drop'), 20);
      response.on('close', () => clearInterval(drops));
    };
    expect(await failureWithin(200)).toBe('timed_out');
  });

  it('stops when the tool is told to stop, also while a name is looked up', async () => {
    const stop = new AbortController();
    internet.answer = () => stop.abort();
    expect(await failureOf(internet.fetch(URL, { signal: stop.signal }))).toBe('timed_out');
    const never = { ...internet.network, resolve: () => new Promise<string[]>(() => {}) };
    expect(await refusalOf(internet.fetch(URL, { network: never, timeoutMs: 50 }))).toBe('host_unresolved');
  });

  it('ends a body that is larger than it may be, whatever its header says', async () => {
    internet.answer = (response) => void response.end(Buffer.alloc(2_000));
    expect(await failureOf(internet.fetch(URL, { maxBytes: 1_999 }))).toBe('too_large');
    expect((await internet.fetch(URL, { maxBytes: 2_000 })).status).toBe(200);
    internet.answer = (response) => {
      for (let i = 0; i < 20; i += 1) response.write(Buffer.alloc(100));
      response.end();
    };
    expect(await failureOf(internet.fetch(URL, { maxBytes: 1_999 }))).toBe('too_large');
  });

  it('refuses a compressed body, which could be of any size', async () => {
    internet.answer = (response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(100_000)));
    };
    expect(await failureOf(internet.fetch(URL))).toBe('encoded');
  });

  it('says broken of what is no answer of HTTP', async () => {
    internet.answer = (response) => void response.socket?.end('220 mail.example.com ESMTP\r\n');
    expect(await failureOf(internet.fetch(URL))).toBe('broken');
    internet.answer = (response) =>
      void response.socket?.end('HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n');
    expect(await failureOf(internet.fetch(URL))).toBe('broken');
  });

  it.each([
    'host',
    'Content-Length',
    'transfer-encoding',
    'Connection',
    'Proxy-Authorization',
    'accept-encoding',
  ])('refuses the header %s before anything leaves', async (name) => {
    expect(await refusalOf(internet.fetch(URL, { headers: { [name]: '1' } }))).toBe('request_refused');
    expect(internet.resolved).toEqual([]);
  });

  it('refuses a header with a line break, and a method that it does not know', async () => {
    const split = internet.fetch(URL, { headers: { 'x-note': 'a\r\nhost: inside' } });
    expect(await refusalOf(split)).toBe('request_refused');
    expect(await refusalOf(internet.fetch(URL, { method: 'CONNECT' as 'GET' }))).toBe('request_refused');
    expect(internet.resolved).toEqual([]);
  });

  it('refuses a certificate of another host, and one that nobody vouches for', async () => {
    internet.names.set('other.example.net', [PUBLIC_4]);
    expect(await refusalOf(internet.fetch('https://other.example.net/'))).toBe('not_connected');
    const stranger = certificateFor('api.example.com').cert;
    expect(await refusalOf(internet.fetch(URL, { ca: stranger }))).toBe('not_connected');
    expect(internet.received).toEqual([]);
  });

  it('says that nothing left where the name has no address, or nobody is there', async () => {
    expect(await refusalOf(internet.fetch('https://nowhere.example.net/'))).toBe('host_unresolved');
    internet.names.set('api.example.com', []);
    expect(await refusalOf(internet.fetch(URL))).toBe('host_unresolved');
  });

  it('takes the name as absolute where this machine resolves it', async () => {
    const error = await MACHINE_NETWORK.resolve('no-such-host.invalid').catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ hostname: 'no-such-host.invalid.' });
  });

  it('names no address of the inside in its refusal', async () => {
    internet.names.set('api.example.com', ['10.11.12.13']);
    const error = await internet.fetch(URL).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(PublicFetchFailed);
    expect(String(error)).not.toContain('10.11');
  });
});
