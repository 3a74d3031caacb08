import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { fetchPublic, PublicFetchFailed, type PublicFetchOptions } from '../../src/outbound/fetch-public.ts';
import type { Network } from '../../src/outbound/network.ts';
import { type Certificate, certificateFor } from './certificate-for-tests.ts';

/** Nobody answers there in a test: whoever dials them reaches the server of this file, and `dialed` keeps the address. */
export const PUBLIC_4 = '93.184.215.14';
export const PUBLIC_6 = '2606:2800:21f:cb07:6820:80da:af6b:8b2c';

export interface Received {
  readonly line: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** One real HTTPS server on this machine that plays the whole internet, and its names and addresses. */
export class Internet {
  readonly certificate: Certificate = certificateFor('api.example.com', '*.example.org');
  readonly names = new Map<string, readonly string[]>();
  readonly resolved: string[] = [];
  readonly dialed: string[] = [];
  readonly received: Received[] = [];
  answer: (response: ServerResponse, request: IncomingMessage) => void = (response) =>
    void response.end('hello');
  readonly #server: Server;

  constructor() {
    const { key, cert } = this.certificate;
    this.#server = createServer({ key, cert }, (request, response) => void this.#receive(request, response));
  }

  async open(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  readonly network: Network = {
    resolve: async (host) => {
      this.resolved.push(host);
      const answers = this.names.get(host);
      if (answers === undefined) throw new Error('ENOTFOUND');
      return answers;
    },
    dial: (address, port) => {
      this.dialed.push(`${address} ${port}`);
      return connect(this.port, '127.0.0.1');
    },
  };

  fetch(url: string, options: PublicFetchOptions = {}): Promise<Response> {
    return fetchPublic(url, { network: this.network, ca: this.certificate.cert, ...options });
  }

  async #receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    this.received.push({ line: `${request.method} ${request.url}`, headers: request.headers, body });
    this.answer(response, request);
  }
}

/** For the tests of one file. */
export function internetForTests(): Internet {
  const internet = new Internet();
  beforeAll(() => internet.open());
  afterAll(() => internet.close());
  beforeEach(() => {
    internet.names.clear();
    internet.names.set('api.example.com', [PUBLIC_4]);
    for (const list of [internet.resolved, internet.dialed, internet.received]) list.length = 0;
    internet.answer = (response) => void response.end('hello');
  });
  return internet;
}

/** Why nothing left. */
export async function refusalOf(call: Promise<unknown>): Promise<string> {
  const failed = await whyFailed(call);
  if (failed.sent) throw new Error('it was sent', { cause: failed });
  return failed.code;
}

/** Why there was no answer to what had left. */
export async function failureOf(call: Promise<unknown>): Promise<string> {
  const failed = await whyFailed(call);
  if (!failed.sent) throw new Error('it was not sent', { cause: failed });
  return failed.code;
}

async function whyFailed(call: Promise<unknown>): Promise<PublicFetchFailed> {
  const error = await call.catch((thrown: unknown) => thrown);
  if (!(error instanceof PublicFetchFailed)) throw new Error('it did not fail', { cause: error });
  return error;
}
