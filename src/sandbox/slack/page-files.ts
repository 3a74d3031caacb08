import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';

const DIRECTORY = new URL('../page/', import.meta.url);

const TYPES = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
} as const;

/** Every file of the page by name: a path never reaches the file system, so none leads out of the directory. */
export const PAGE_FILES = [
  'index.html',
  'page.css',
  'favicon.svg',
  'acting-user.js',
  'app.js',
  'avatar.js',
  'block-kit.js',
  'channels.js',
  'client-state.js',
  'composer.js',
  'confirm.js',
  'controls.js',
  'dialog.js',
  'dom.js',
  'emoji.js',
  'faults.js',
  'files.js',
  'icons.js',
  'mentions.js',
  'messages.js',
  'modal.js',
  'mrkdwn.js',
  'rich-text.js',
  'slack-client.js',
  'slack-time.js',
  'tally.js',
  'text-object.js',
  'theme.js',
  'thread.js',
  'workspaces.js',
] as const;

const FILES = new Map<string, (typeof PAGE_FILES)[number]>([
  ['/', 'index.html'],
  ...PAGE_FILES.filter((name) => name !== 'index.html').map((name) => [`/${name}`, name] as const),
]);

/** The page builds everything from text nodes; this is the second wall, should it ever not. */
const POLICY =
  "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/** Serves the web page of the local Slack at `/`. False: the path is none of its files. */
export function servePageFile(request: IncomingMessage, response: ServerResponse): boolean {
  const [path = ''] = (request.url ?? '/').split('?');
  const name = FILES.get(path);
  if (name === undefined) return false;
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(405, { allow: 'GET, HEAD' }).end();
    return true;
  }
  const content = readFileSync(new URL(name, DIRECTORY));
  response.writeHead(200, {
    'content-type': TYPES[name.slice(name.lastIndexOf('.') + 1) as keyof typeof TYPES],
    'content-length': content.length,
    'content-security-policy': POLICY,
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-cache',
  });
  response.end(request.method === 'HEAD' ? undefined : content);
  return true;
}
