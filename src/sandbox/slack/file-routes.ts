import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FileShelf, SlackFile } from './file-shelf.ts';
import { readBytes } from './http-exchange.ts';

/** The address that `files.getUploadURLExternal` gave out: raw bytes, or a form with the file in it. */
export async function receiveUpload(
  files: FileShelf,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const bytes = request.method === 'POST' ? await uploadedBytes(request) : undefined;
  if (bytes === undefined) {
    response.writeHead(400, { 'content-type': 'text/plain' }).end('POST the file.');
    return;
  }
  const received = files.receive(path, bytes);
  response.writeHead(received.ok ? 200 : received.status, { 'content-type': 'text/plain' });
  response.end(received.ok ? `OK - ${bytes.length}` : received.text);
}

async function uploadedBytes(request: IncomingMessage): Promise<Buffer | undefined> {
  const body = await readBytes(request);
  if (!body.ok) return undefined;
  const type = request.headers['content-type'] ?? '';
  if (!/^multipart\/form-data|^application\/x-www-form-urlencoded/.test(type)) return body.bytes;
  try {
    const form = await new Response(new Uint8Array(body.bytes), {
      headers: { 'content-type': type },
    }).formData();
    const [value] = [...form.values()];
    if (value === undefined) return undefined;
    return typeof value === 'string' ? Buffer.from(value) : Buffer.from(await value.arrayBuffer());
  } catch {
    return undefined;
  }
}

/** For a person to keep: never shown as a page of this origin, whatever is in it. */
export function sendFile(file: SlackFile, response: ServerResponse): void {
  const bytes = file.bytes ?? Buffer.alloc(0);
  response.writeHead(200, {
    'content-type': 'application/octet-stream',
    'content-length': bytes.length,
    'content-disposition': `attachment; filename*=UTF-8''${encodeURIComponent(file.name)}`,
    'content-security-policy': "sandbox; default-src 'none'",
    'x-content-type-options': 'nosniff',
    'cache-control': 'no-store',
  });
  response.end(bytes);
}
