import type { IncomingMessage, ServerResponse } from 'node:http';

const MOST_BYTES = 4_000_000;

export type Body = { ok: true; text: string } | { ok: false; reason: 'too_large' };

export async function readBody(request: IncomingMessage): Promise<Body> {
  const body = await readBytes(request);
  return body.ok ? { ok: true, text: body.bytes.toString('utf8') } : body;
}

export async function readBytes(
  request: IncomingMessage,
): Promise<{ ok: true; bytes: Buffer } | { ok: false; reason: 'too_large' }> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    const buffer = Buffer.from(chunk as Uint8Array);
    bytes += buffer.length;
    if (bytes > MOST_BYTES) return { ok: false, reason: 'too_large' };
    chunks.push(buffer);
  }
  return { ok: true, bytes: Buffer.concat(chunks) };
}

export function sendJson(
  response: ServerResponse,
  status: number,
  value: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, {
    'content-type': 'application/json; charset=utf-8',
    'cache-control': 'no-store',
    ...headers,
  });
  response.end(JSON.stringify(value));
}
