import { createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { OnceMemory } from '../core/workspace/once.ts';
import { SLACK_LIMITS } from './limits.ts';

/** Larger than any payload that Slack sends (a modal may have 250 kB, form-encoded); smaller than a nuisance. */
const BODY_LIMIT = 1024 * 1024;
const SIGNATURE = /^v0=[0-9a-f]{64}$/;
const TIMESTAMP = /^[0-9]{1,12}$/;

export interface HttpGuardOptions {
  readonly signingSecret: string;
  /** What every payload must say it is for; undefined while nobody has told. */
  readonly appId: () => string | undefined;
  /** Of all replicas together: behind a balancer a replay reaches another one. */
  readonly seen: OnceMemory;
  readonly path: string;
  readonly clock: () => number;
  readonly logger: Logger;
}

/** Why a request was turned away; for the log alone, the sender learns nothing. */
type Turned =
  | 'too_large'
  | 'too_slow'
  | 'content_type'
  | 'signature_form'
  | 'timestamp'
  | 'signature'
  | 'replayed'
  | 'memory_unavailable'
  | 'body_form'
  | 'other_app';

/**
 * Stands before Bolt in HTTP mode and lets through only what Slack signed, now, once, and in the one form that it uses.
 * Bolt checks again; alone it accepts timestamps from the future, junk behind the signature, unsigned `ssl_check`
 * bodies, and the same request as often as it is sent.
 */
export class HttpGuard {
  readonly #options: HttpGuardOptions;

  constructor(options: HttpGuardOptions) {
    this.#options = options;
  }

  before(next: RequestListener): RequestListener {
    return (request, response) => {
      this.#handle(request, response, next).catch((error: unknown) => {
        this.#options.logger.warn({ err: error }, 'a request could not be read');
        turnAway(response, 400);
      });
    };
  }

  async #handle(request: IncomingMessage, response: ServerResponse, next: RequestListener): Promise<void> {
    // As it stands in the request line: what has to be resolved first, others resolve otherwise.
    const [path] = (request.url ?? '').split('?', 1);
    if (request.method !== 'POST' || path !== this.#options.path) return turnAway(response, 404);
    const body = await readBody(request);
    const turned = Buffer.isBuffer(body) ? await this.#judge(request, body) : body;
    if (!Buffer.isBuffer(body) || turned !== undefined) {
      this.#options.logger.warn({ turned }, 'a request that claims to come from Slack was turned away');
      return turnAway(response, (turned && STATUS[turned]) ?? 401);
    }
    // Bolt takes what has been read from here.
    Object.assign(request, { rawBody: body });
    next(request, response);
  }

  async #judge(request: IncomingMessage, body: Buffer): Promise<Turned | undefined> {
    const type = single(request, 'content-type')?.split(';')[0]?.trim().toLowerCase();
    if (type !== FORM && type !== JSON_TYPE) return 'content_type';
    // Bolt compares the whole header.
    request.headers['content-type'] = type;
    const signature = single(request, 'x-slack-signature');
    const timestamp = single(request, 'x-slack-request-timestamp');
    if (signature === undefined || !SIGNATURE.test(signature)) return 'signature_form';
    if (timestamp === undefined || !TIMESTAMP.test(timestamp)) return 'timestamp';
    if (Math.abs(this.#options.clock() - Number(timestamp) * 1000) > SLACK_LIMITS.signatureAgeMs)
      return 'timestamp';
    const text = body.toString('utf8');
    // Bytes that are not UTF-8 would be signed as one thing and read as another.
    if (!Buffer.from(text, 'utf8').equals(body)) return 'body_form';
    if (!this.#signedBySlack(signature, timestamp, text)) return 'signature';
    const payload = type === FORM ? formPayload(text) : jsonPayload(text);
    if (payload === undefined) return 'body_form';
    if (!payloadIsFor(payload, this.#options.appId())) return 'other_app';
    return this.#replayed(`${timestamp}:${signature}`);
  }

  #signedBySlack(signature: string, timestamp: string, text: string): boolean {
    const { signingSecret } = this.#options;
    // An empty secret would let anybody sign.
    if (signingSecret === '') return false;
    const hex = createHmac('sha256', signingSecret).update(`v0:${timestamp}:${text}`).digest('hex');
    return timingSafeEqual(Buffer.from(`v0=${hex}`), Buffer.from(signature));
  }

  async #replayed(key: string): Promise<Turned | undefined> {
    try {
      // A timestamp may be as far ahead as it may be behind.
      const first = await this.#options.seen.firstTime(
        `slack-request\n${key}`,
        2 * SLACK_LIMITS.signatureAgeMs + 1_000,
      );
      return first ? undefined : 'replayed';
    } catch {
      return 'memory_unavailable';
    }
  }
}

const STATUS: Partial<Record<Turned, number>> = { too_large: 413, too_slow: 408, memory_unavailable: 503 };

const FORM = 'application/x-www-form-urlencoded';
const JSON_TYPE = 'application/json';

const Payload = z.looseObject({ api_app_id: z.string().optional() });

/** A payload for another app is not ours, however well it is signed. */
export function payloadIsFor(payload: unknown, appId: string | undefined): boolean {
  if (appId === undefined) return true;
  const parsed = Payload.safeParse(payload);
  return parsed.success && parsed.data.api_app_id === appId;
}

/** Either one `payload` and nothing else, or the fields of a command, each once. */
function formPayload(text: string): unknown {
  const form = new URLSearchParams(text);
  const names = [...form.keys()];
  if (new Set(names).size !== names.length) return undefined;
  const payload = form.get('payload');
  if (payload === null) return Object.fromEntries(form);
  return names.length === 1 ? jsonPayload(payload) : undefined;
}

function jsonPayload(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Node joins some repeated headers with a comma and keeps others apart: neither is one value. */
function single(request: IncomingMessage, name: string): string | undefined {
  const values = request.headersDistinct[name];
  return values?.length === 1 ? values[0] : undefined;
}

/** Whoever never ends a body must not hold a connection; Slack itself gives up after `ackMs`. */
async function readBody(request: IncomingMessage): Promise<Buffer | 'too_large' | 'too_slow'> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'too_slow'>((resolve) => {
    timer = setTimeout(resolve, SLACK_LIMITS.ackMs, 'too_slow');
  });
  try {
    return await Promise.race([collect(request), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function collect(request: IncomingMessage): Promise<Buffer | 'too_large'> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    size += chunk.length;
    if (size > BODY_LIMIT) return 'too_large';
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function turnAway(response: ServerResponse, status: number): void {
  if (!response.headersSent) response.writeHead(status, { connection: 'close' });
  response.end();
}
