import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PAGE_FILES, servePageFile } from '../../src/sandbox/slack/page-files.ts';

const ROOT = new URL('../../', import.meta.url);
const DIRECTORY = new URL('src/sandbox/page/', ROOT);

describe('the files of the local Slack’s page', () => {
  let server: Server;

  beforeAll(async () => {
    server = createServer((incoming, response) => {
      if (!servePageFile(incoming, response)) response.writeHead(404).end();
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
  });

  afterAll(() => {
    server.close();
    server.closeAllConnections();
  });

  /** Not `fetch`: that would tidy the path before it is sent. */
  const get = (path: string, method = 'GET') =>
    new Promise<{ status: number; headers: Record<string, unknown>; body: string }>((resolve, reject) => {
      const { port } = server.address() as AddressInfo;
      const sent = request({ host: '127.0.0.1', port, path, method }, (response) => {
        let body = '';
        response.on('data', (chunk: Buffer) => {
          body += chunk.toString();
        });
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        );
      });
      sent.on('error', reject);
      sent.end();
    });

  it('are all listed, and none is listed that is not there', () => {
    const there = readdirSync(DIRECTORY).filter((name) => name !== 'tsconfig.json');
    expect([...PAGE_FILES].sort()).toEqual(there.sort());
  });

  it('come with their type and a content policy that lets nothing in from elsewhere', async () => {
    const page = await get('/?team=T0ACME');
    expect(page).toMatchObject({ status: 200, headers: { 'content-type': 'text/html; charset=utf-8' } });
    expect(page.body).not.toMatch(/\son\w+=|style=|<script(?! type="module" src="\/app\.js"><\/script>)/);
    for (const name of PAGE_FILES.filter((file) => file !== 'index.html')) {
      const { status, headers } = await get(`/${name}`);
      expect(status, name).toBe(200);
      expect(headers['content-security-policy']).toMatch(/^default-src 'self';/);
      expect(headers['x-content-type-options']).toBe('nosniff');
    }
    expect((await get('/app.js')).headers['content-type']).toBe('text/javascript; charset=utf-8');
    expect((await get('/app.js', 'POST')).status).toBe(405);
  });

  it('are all that can be read, however the path is written', async () => {
    const paths = [
      '/tsconfig.json',
      '/../slack/demo-world.ts',
      '/%2e%2e/slack/demo-world.ts',
      '/..%2fslack%2fdemo-world.ts',
      '/app.js/',
      '//app.js',
      '/__proto__',
      '/App.js',
      '/app.js%00',
    ];
    for (const path of paths) expect((await get(path)).status, path).toBe(404);
  });

  it('are type-checked, though nothing compiles them', () => {
    const compiler = fileURLToPath(new URL('node_modules/typescript/bin/tsc', ROOT));
    const checked = spawnSync(process.execPath, [compiler, '-p', fileURLToPath(DIRECTORY)], {
      encoding: 'utf8',
    });
    expect(checked.stdout).toBe('');
    expect(checked.status).toBe(0);
  });
});
