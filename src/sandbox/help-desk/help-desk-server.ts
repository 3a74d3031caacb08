import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { z } from 'zod';
import { KNOWLEDGE_BASE } from './help-desk-seed.ts';
import type { Found, HelpDeskStore, Refusal, TokenScope, Written } from './help-desk-store.ts';
import { CloseTicket, NewEmail, NewTicket } from './ticket.ts';

/** A token for each tenant, environment and access; and one that reads the whole journal and nothing else. */
export interface HelpDeskTokens {
  readonly scopes: ReadonlyMap<string, TokenScope>;
  readonly journal: string;
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

const BODY_MAX_BYTES = 64 * 1024;
const STATUS: Record<Refusal, number> = {
  not_found: 404,
  forbidden: 403,
  already_closed: 409,
  key_reused: 422,
};
const WHY: Record<Refusal, string> = {
  not_found: 'There is no such ticket.',
  forbidden: 'This token is for another tenant or environment.',
  already_closed: 'The ticket is closed already.',
  key_reused: 'This Idempotency-Key came with another write before.',
};

/** HTTP and JSON; listens only where it is told to, which is 127.0.0.1 in the demo. */
export function helpDeskServer(store: HelpDeskStore, tokens: HelpDeskTokens): Server {
  const byDigest = new Map([...tokens.scopes].map(([token, scope]) => [digest(token), scope]));
  const journalDigest = digest(tokens.journal);
  return createServer((incoming, response) => {
    void answer(incoming)
      .catch((error: unknown) => refusal(500, 'internal', error instanceof Error ? error.message : 'unknown'))
      .then((given) => send(response, given));
  });

  async function answer(incoming: IncomingMessage): Promise<Answer> {
    const url = new URL(incoming.url ?? '/', 'http://help-desk');
    const route = `${incoming.method} ${url.pathname}`;
    const presented = digest(/^Bearer (\S+)$/.exec(incoming.headers.authorization ?? '')?.[1] ?? '');
    if (presented === journalDigest && route === 'GET /journal') return ok(store.journal());
    const scope = byDigest.get(presented);
    if (!scope) return refusal(401, 'unauthorized', 'A bearer token that this help desk gave out is needed.');

    if (incoming.method === 'GET') return read(scope, route, url.searchParams);
    if (incoming.method !== 'POST') return refusal(405, 'method_not_allowed', 'Only GET and POST.');
    if (scope.access !== 'write') return refusal(403, 'read_only', 'This token may only read.');
    const key = incoming.headers['idempotency-key'];
    if (typeof key !== 'string' || !/^[\x21-\x7e]{8,200}$/.test(key)) {
      return refusal(
        400,
        'idempotency_key_missing',
        'Every write needs an Idempotency-Key of 8 to 200 characters.',
      );
    }
    return write(scope, key, route, await bodyOf(incoming));
  }

  function read(scope: TokenScope, route: string, query: URLSearchParams): Answer {
    const id = /^GET \/tickets\/([A-Z0-9-]{1,40})$/.exec(route)?.[1];
    if (id !== undefined) return found(store.ticket(scope, id));
    switch (route) {
      case 'GET /tickets': {
        const status = query.get('status') ?? undefined;
        if (status !== undefined && status !== 'open' && status !== 'closed') {
          return refusal(400, 'bad_status', 'status is open or closed.');
        }
        return ok(store.tickets(scope, status));
      }
      case 'GET /kb':
        return ok(articlesAbout(query.get('q') ?? ''));
      case 'GET /journal':
        return ok(store.journal(scope));
      default:
        return refusal(404, 'no_such_route', 'There is no such thing here.');
    }
  }

  function write(scope: TokenScope, key: string, route: string, body: unknown): Answer {
    const id = /^POST \/tickets\/([A-Z0-9-]{1,40})\/close$/.exec(route)?.[1];
    if (id !== undefined)
      return parsed(CloseTicket, body, (close) => written(store.closeTicket(scope, key, id, close), 200));
    switch (route) {
      case 'POST /tickets':
        return parsed(NewTicket, body, (ticket) => written(store.createTicket(scope, key, ticket), 201));
      case 'POST /emails':
        return parsed(NewEmail, body, (email) => written(store.sendEmail(scope, key, email), 202));
      default:
        return refusal(404, 'no_such_route', 'There is no such thing here.');
    }
  }
}

function parsed<T>(schema: z.ZodType<T>, body: unknown, then: (value: T) => Answer): Answer {
  const read = schema.safeParse(body);
  if (read.success) return then(read.data);
  const first = read.error.issues[0];
  return refusal(400, 'bad_body', `${first?.path.join('.') || 'The body'}: ${first?.message ?? 'is wrong'}`);
}

const ok = (body: unknown): Answer => ({ status: 200, body });

function found<T>(result: Found<T>): Answer {
  return result.ok ? ok(result.value) : refusal(STATUS[result.refusal], result.refusal, WHY[result.refusal]);
}

function written<T>(result: Written<T>, status: number): Answer {
  if (!result.ok) return refusal(STATUS[result.refusal], result.refusal, WHY[result.refusal]);
  return { status, body: result.value, headers: result.replayed ? { 'Idempotent-Replayed': 'true' } : {} };
}

function refusal(status: number, code: string, message: string): Answer {
  return { status, body: { error: { code, message } } };
}

/** Articles that hold most of the words that were asked for, at most three. */
function articlesAbout(question: string) {
  const words = question.toLowerCase().match(/[\p{L}\p{N}]{3,}/gu) ?? [];
  return KNOWLEDGE_BASE.map((article) => {
    const text = `${article.title} ${article.text}`.toLowerCase();
    return { article, hits: words.filter((word) => text.includes(word)).length };
  })
    .filter(({ hits }) => hits > 0)
    .sort((a, b) => b.hits - a.hits)
    .slice(0, 3)
    .map(({ article }) => article);
}

async function bodyOf(incoming: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming) {
    size += (chunk as Buffer).length;
    if (size > BODY_MAX_BYTES) return undefined;
    chunks.push(chunk as Buffer);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    return undefined;
  }
}

function send(response: ServerResponse, { status, body, headers }: Answer): void {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store', ...headers });
  response.end(JSON.stringify(body));
}

/** Looked up by digest: how long a lookup takes says nothing about a token. */
function digest(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
