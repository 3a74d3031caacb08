import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { demoWorld } from '../../src/sandbox/slack/demo-world.ts';
import { type LocalSlack, startLocalSlack } from '../../src/sandbox/slack/local-slack.ts';
import { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import type { Installation } from '../../src/sandbox/slack/slack-world.ts';
import { apiError, clientFor } from './bolt-sample-app.ts';

const CHANNEL = 'C0ACMEAPP';
const TEXT = `{ "body": "${'long '.repeat(500)}é" }`;

let slack: LocalSlack;

beforeEach(async () => {
  slack = await startLocalSlack({ world: demoWorld(), delivery: { mode: 'socket' } });
  installation().scopes.push('files:write', 'files:read');
});
afterEach(() => slack.close());

const acme = () => clientFor(slack, 'T0ACME');

function installation(): Installation {
  const found = slack.world.workspaces.find(({ team }) => team === 'T0ACME')?.installation;
  if (!found) throw new Error('not installed');
  return found;
}

async function announce(text = TEXT, filename = 'arguments.json') {
  const { upload_url, file_id } = await acme().files.getUploadURLExternal({
    filename,
    length: Buffer.byteLength(text),
  });
  return { url: String(upload_url), id: String(file_id) };
}

async function upload(text = TEXT, filename = 'arguments.json'): Promise<string> {
  const { url, id } = await announce(text, filename);
  expect((await fetch(url, { method: 'POST', body: text })).status).toBe(200);
  return id;
}

const download = (user: string, file: string) =>
  fetch(`${slack.url}/sandbox/file?${new URLSearchParams({ team: 'T0ACME', user, file })}`);

describe('a file', () => {
  it('that the SDK uploads stands in its thread with name and size, and downloads byte for byte', async () => {
    const card = await acme().chat.postMessage({ channel: CHANNEL, text: 'card' });
    const uploaded = await acme().filesUploadV2({
      channel_id: CHANNEL,
      thread_ts: String(card.ts),
      filename: 'arguments.json',
      title: 'All arguments',
      content: TEXT,
      initial_comment: 'The arguments in full',
    });
    expect(uploaded.ok).toBe(true);
    const seen = await new SlackPerson(slack.url, { team: 'T0ACME', user: 'U0ANA' }).messages(CHANNEL);
    expect(seen).toMatchObject([
      { text: 'card', replyCount: 1, files: [] },
      {
        text: 'The arguments in full',
        threadTs: card.ts,
        files: [{ name: 'arguments.json', title: 'All arguments', size: Buffer.byteLength(TEXT) }],
      },
    ]);
    const id = seen[1]?.files[0]?.id ?? '';
    const response = await download('U0ANA', id);
    expect(response.headers.get('content-disposition')).toContain('attachment');
    expect(response.headers.get('content-type')).toBe('application/octet-stream');
    const bytes = Buffer.from(await response.arrayBuffer());
    const sha256 = (what: string | Buffer) => createHash('sha256').update(what).digest('hex');
    expect(sha256(bytes)).toBe(sha256(TEXT));
    expect(await acme().files.info({ file: id })).toMatchObject({
      file: { id, size: bytes.length, channels: [CHANNEL] },
    });
  });

  it('wants the scope, and its own for being read', async () => {
    installation().scopes = ['chat:write'];
    expect(await apiError(announce())).toBe('missing_scope');
    const completing = acme().files.completeUploadExternal({ files: [{ id: 'F1' }] });
    expect(await apiError(completing)).toBe('missing_scope');
    expect(await apiError(acme().files.info({ file: 'F1' }))).toBe('missing_scope');
  });

  it('has a size that Slack takes, and an upload of just that many bytes, once', async () => {
    const { files } = acme();
    const refused = (length: number, more: object = {}) =>
      apiError(files.getUploadURLExternal({ filename: 'a', length, ...more }));
    expect(await refused(0)).toBe('missing_argument');
    expect(await refused(-1)).toBe('invalid_arguments');
    expect(await refused(3_000_001)).toBe('file_upload_size_restricted');
    expect(await refused(1_000_001, { snippet_type: 'json' })).toBe('snippet_too_large');
    expect(await refused(1, { alt_txt: 'x'.repeat(1001) })).toBe('alt_txt_too_large');
    const { url, id } = await announce('four');
    expect((await fetch(url, { method: 'POST', body: 'five!' })).status).toBe(400);
    expect(await apiError(files.completeUploadExternal({ files: [{ id }] }))).toBe('file_not_found');
    expect((await fetch(url, { method: 'POST', body: 'four' })).status).toBe(200);
    expect((await fetch(url, { method: 'POST', body: 'four' })).status).toBe(404);
  });

  it('is completed once, into a channel where the bot is and a thread that exists', async () => {
    const id = await upload();
    const complete = (more: object) =>
      acme().files.completeUploadExternal({ files: [{ id }], channel_id: CHANNEL, ...more });
    expect(await apiError(complete({ channel_id: 'C0NOWHERE' }))).toBe('channel_not_found');
    expect(await apiError(complete({ channel_id: 'C0ACMEGEN' }))).toBe('not_in_channel');
    expect(await apiError(complete({ thread_ts: '1.000001' }))).toBe('thread_not_found');
    expect(await complete({})).toMatchObject({ ok: true, files: [{ id, title: 'arguments.json' }] });
    expect(await apiError(complete({}))).toBe('file_not_found');
  });

  it('is another workspace’s never, and a person’s only where he sees the message', async () => {
    const id = await upload();
    const globex = clientFor(slack, 'T0GLOBEX');
    slack.world.workspaces.find(({ team }) => team === 'T0GLOBEX')?.installation?.scopes.push('files:write');
    const stolen = globex.files.completeUploadExternal({ files: [{ id }], channel_id: 'C0GLOBEX' });
    expect(await apiError(stolen)).toBe('file_not_found');
    expect((await download('U0ANA', id)).status).toBe(404);
    await acme().files.completeUploadExternal({ files: [{ id }], channel_id: CHANNEL });
    expect((await download('U0ANA', id)).status).toBe(200);
    expect((await download('U0STRANGER', id)).status).toBe(404);
  });
});
