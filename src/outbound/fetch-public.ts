import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect as secure, type TLSSocket } from 'node:tls';
import { Client, type Dispatcher } from 'undici';
import { TimeLimit } from '../core/execution/time-limit.ts';
import { MACHINE_NETWORK, type Network } from './network.ts';
import { isPublicAddress } from './public-address.ts';
import { judgePublicUrl, type PublicUrlParts, type PublicUrlRules } from './public-https-url.ts';

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const;

export interface PublicFetchOptions extends PublicUrlRules {
  readonly method?: (typeof METHODS)[number];
  /** Exactly these are sent, beside what HTTP itself needs. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** `run.signal`. */
  readonly signal?: AbortSignal;
  /** For everything together, from the name to the last byte. Default 10,000. */
  readonly timeoutMs?: number;
  /** Of the answer's body. Default 1 MiB. */
  readonly maxBytes?: number;
  /** The authorities to trust instead of the public ones, in PEM. */
  readonly ca?: string;
  /** For tests. */
  readonly network?: Network;
}

/** There is no whole answer. No ToolRejected: what the tool had done before this call, its author alone knows. */
export class PublicFetchFailed extends Error {
  override readonly name = 'PublicFetchFailed';
  readonly code: keyof typeof WAS_SENT;

  constructor(code: PublicFetchFailed['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  /** False: for certain nothing of this call left the machine. True: it may have taken effect. */
  get sent(): boolean {
    return WAS_SENT[this.code];
  }
}

const WAS_SENT = {
  url_refused: false,
  request_refused: false,
  host_unresolved: false,
  address_refused: false,
  not_connected: false,
  timed_out: true,
  too_large: true,
  encoded: true,
  broken: true,
} as const;

const TIMEOUT_MS = 10_000;
/** A dead address must not use up the time of the ones after it. */
const CONNECT_TIMEOUT_MS = 3_000;
const MOST_ADDRESSES = 4;
const MAX_BYTES = 1024 * 1024;

/** What would make the call another one than the URL says, or is the connection's own business. */
const NOT_TO_BE_SET = new Set([
  ...['accept-encoding', 'connection', 'content-length', 'expect', 'host', 'keep-alive', 'te', 'trailer'],
  ...['proxy-authorization', 'proxy-connection', 'transfer-encoding', 'upgrade'],
]);

/**
 * Calls a public https URL, given in its normal form, and nothing else: the name is resolved once, every address that it
 * has must be public, and the connection goes to one of the addresses that were looked at. No redirect is followed (the
 * answer with its status is returned), no proxy, cookie or kept connection is used, and a certificate is always checked.
 * @throws PublicFetchFailed
 */
export async function fetchPublic(url: string, options: PublicFetchOptions = {}): Promise<Response> {
  const { method = 'GET', timeoutMs = TIMEOUT_MS } = options;
  const judged = judgePublicUrl(url, options);
  if (!judged.ok) throw new PublicFetchFailed('url_refused', judged.why);
  if (!METHODS.includes(method))
    throw new PublicFetchFailed('request_refused', `the method must be one of ${METHODS}`);
  const headers = headersToSend(options.headers);
  const limit = new TimeLimit({ ms: timeoutMs, or: options.signal ? [options.signal] : [] });
  const { signal } = limit;
  try {
    const socket = await connected(judged.url, limit, options);
    return await exchange(judged.url, socket, {
      request: { path: judged.url.path, method, headers, body: options.body ?? null, signal, reset: true },
      maxBytes: options.maxBytes ?? MAX_BYTES,
    });
  } finally {
    limit.release();
  }
}

function headersToSend(given: Readonly<Record<string, string>> = {}): Record<string, string> {
  const own = Object.keys(given).find((name) => NOT_TO_BE_SET.has(name.toLowerCase()));
  if (own !== undefined) throw new PublicFetchFailed('request_refused', `the header ${own} must not be set`);
  try {
    // What comes encoded may be a thousand times as large as it looks: the answer is asked for as it is.
    return { ...Object.fromEntries(new Headers(given)), 'accept-encoding': 'identity' };
  } catch (cause) {
    throw new PublicFetchFailed('request_refused', 'a header is not one that HTTP can carry', { cause });
  }
}

async function connected(
  { host, port }: PublicUrlParts,
  limit: TimeLimit,
  { network = MACHINE_NETWORK, ca }: PublicFetchOptions,
): Promise<TLSSocket> {
  const addresses = await publicAddresses(host, network, limit);
  let last: unknown;
  for (const address of addresses.slice(0, MOST_ADDRESSES)) {
    if (limit.signal.aborted) break;
    const attempt = new TimeLimit({ ms: CONNECT_TIMEOUT_MS, or: [limit.signal] });
    try {
      return await securedSocket(network.dial(address, port), host, attempt.signal, ca);
    } catch (error) {
      last = error;
    } finally {
      attempt.release();
    }
  }
  throw new PublicFetchFailed('not_connected', `no secure connection to ${host}`, { cause: last });
}

/** Which address it was is not said: an agent must not learn the names and addresses of the inside. */
async function publicAddresses(host: string, network: Network, limit: TimeLimit): Promise<readonly string[]> {
  // The system's lookup cannot be stopped; it is only waited for as long as there is time.
  const addresses = await limit.within(network.resolve(host)).catch((cause: unknown) => {
    throw new PublicFetchFailed('host_unresolved', `${host} could not be resolved`, { cause });
  });
  if (addresses.length === 0) throw new PublicFetchFailed('host_unresolved', `${host} has no address`);
  // One that is not public among ten is a trap, or a mistake that the next answer may bring alone.
  if (!addresses.every(isPublicAddress)) {
    throw new PublicFetchFailed('address_refused', `${host} leads to an address that is not public`);
  }
  return addresses;
}

async function securedSocket(
  socket: Socket,
  servername: string,
  signal: AbortSignal,
  ca: string | undefined,
): Promise<TLSSocket> {
  // Whatever comes late must not end the process.
  socket.on('error', () => {});
  try {
    await once(socket, 'connect', { signal });
    // Said, because the environment can turn the default off.
    const rejectUnauthorized = true;
    const tls = secure({
      socket,
      servername,
      rejectUnauthorized,
      ALPNProtocols: ['http/1.1'],
      ...(ca && { ca }),
    });
    tls.on('error', () => {});
    await once(tls, 'secureConnect', { signal });
    return tls;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

interface Exchange {
  readonly request: Dispatcher.RequestOptions & { readonly signal: AbortSignal };
  readonly maxBytes: number;
}

async function exchange(
  { origin, host }: PublicUrlParts,
  socket: TLSSocket,
  { request, maxBytes }: Exchange,
) {
  let used = false;
  const client = new Client(origin, {
    // This one connection: where it breaks, nothing is sent a second time.
    connect: (_, done) => {
      const handOver = used
        ? () => done(new Error('the connection is over'), null)
        : () => done(null, socket);
      used = true;
      process.nextTick(handOver);
    },
    maxResponseSize: maxBytes,
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  try {
    const answer = await client.request(request);
    const body = await answer.body.bytes();
    return responseOf(answer, body);
  } catch (cause) {
    throw failureOf(cause, host, request.signal, maxBytes);
  } finally {
    socket.destroy();
    void client.destroy();
  }
}

function responseOf({ statusCode, headers }: Dispatcher.ResponseData, body: Uint8Array): Response {
  const received = new Headers();
  for (const [name, values = []] of Object.entries(headers)) {
    for (const value of [values].flat()) received.append(name, value);
  }
  const encoding = received.get('content-encoding') ?? 'identity';
  if (body.length > 0 && encoding !== 'identity') {
    throw new PublicFetchFailed('encoded', 'the answer came encoded, which was not asked for');
  }
  return new Response(body.length > 0 ? body : null, { status: statusCode, headers: received });
}

function failureOf(cause: unknown, host: string, signal: AbortSignal, maxBytes: number): PublicFetchFailed {
  if (cause instanceof PublicFetchFailed) return cause;
  if (signal.aborted)
    return new PublicFetchFailed('timed_out', `no whole answer of ${host} in time`, { cause });
  if (cause instanceof Error && 'code' in cause && cause.code === 'UND_ERR_RES_EXCEEDED_MAX_SIZE') {
    return new PublicFetchFailed('too_large', `the answer of ${host} is larger than ${maxBytes} bytes`, {
      cause,
    });
  }
  return new PublicFetchFailed('broken', `the connection to ${host} broke, or its answer is not HTTP`, {
    cause,
  });
}
