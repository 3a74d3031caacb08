import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { parseEnv } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type DemoParts, startDemoParts } from '../../src/demo/demo-parts.ts';

const CLI = join(import.meta.dirname, '..', '..', 'dist', 'cli.js');

/** Whoever listens to the channel of a parent does not end by themselves: a part that did not start has to. */
const HOLDING = `data:text/javascript,process.on('message', () => {})`;

/** A busy machine takes long to start a process; what does not end at all is the failure. */
const STARTED_WITHIN_MS = 60_000;
vi.setConfig({ testTimeout: 200_000 });

let parts: DemoParts;
let directory: string;
let approvals: Record<string, string | undefined>;
let executor: Record<string, string | undefined>;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'countersign-bad-'));
  parts = await startDemoParts({ directory: join(directory, 'demo'), port: 0, tally: () => ({}) });
  approvals = parseEnv(readFileSync(parts.approvals.envPath, 'utf8'));
  executor = parseEnv(readFileSync(parts.executor.envPath, 'utf8'));
}, 120_000);
afterAll(async () => {
  await parts?.stop();
  rmSync(directory, { recursive: true, force: true });
});

describe('a start that cannot work ends at once and says what to do', () => {
  it('where nothing is set, it names every missing variable in one run', async () => {
    const { code, errors } = await run({}, 'start');
    expect(code).toBe(1);
    for (const name of [
      'REDIS_URL',
      'SLACK_BOT_TOKEN',
      'SLACK_APP_TOKEN',
      'COUNTERSIGN_TOOLS',
      'COUNTERSIGN_PROPOSAL_KEY',
      'COUNTERSIGN_APPROVAL_PRIVATE_KEY',
      'COUNTERSIGN_AUDIT_DIR',
      'COUNTERSIGN_AUDIT_PRIVATE_KEY',
    ]) {
      expect(errors).toContain(`${name} is missing`);
    }
  });

  it('where the executor is given the signing key or a Slack token', async () => {
    const env = {
      ...executor,
      SLACK_BOT_TOKEN: 'xoxb-1',
      COUNTERSIGN_APPROVAL_PRIVATE_KEY: approvals.COUNTERSIGN_APPROVAL_PRIVATE_KEY,
    };
    const { code, errors } = await run(env, 'executor');
    expect(code).toBe(1);
    expect(errors).toContain('SLACK_BOT_TOKEN must not be set here');
    expect(errors).toContain('COUNTERSIGN_APPROVAL_PRIVATE_KEY must not be set here');
    expect(errors).not.toContain(String(approvals.COUNTERSIGN_APPROVAL_PRIVATE_KEY));
  });

  it('where the policy is broken: every problem with its line', async () => {
    const policy = join(directory, 'broken.yaml');
    writeFileSync(
      policy,
      'version: 1\ntools: { allow: [ticket.read, ticket.nuke] }\nwrite_tools: { enabled: yes please }\nsurprise: 1\n',
    );
    const { code, errors } = await run({ ...executor, COUNTERSIGN_POLICY: policy }, 'executor');
    expect(code).toBe(1);
    for (const line of [':2', ':3', ':4']) expect(errors).toContain(`broken.yaml${line}`);
  });

  it('where there is no policy, no tools module, or no Redis', async () => {
    expect(
      (await run({ ...executor, COUNTERSIGN_POLICY: '/nonexistent.yaml' }, 'executor')).errors,
    ).toContain('the policy file /nonexistent.yaml cannot be read');
    expect((await run({ ...executor, COUNTERSIGN_TOOLS: '/nonexistent.js' }, 'executor')).errors).toContain(
      'the tools module /nonexistent.js cannot be loaded',
    );
    const { code, errors } = await run({ ...executor, REDIS_URL: 'redis://127.0.0.1:1' }, 'executor');
    expect(code).toBe(1);
    expect(errors).toContain('Redis at redis://127.0.0.1:1');
    expect(errors).toContain('set REDIS_URL');
  });

  it('where Redis would evict: the line to type', async () => {
    const { Redis } = await import('ioredis');
    const client = new Redis(parts.redis.connectionOptions);
    await client.config('SET', 'maxmemory-policy', 'allkeys-lru');
    const { code, errors } = await run(executor, 'executor');
    await client.config('SET', 'maxmemory-policy', 'noeviction');
    client.disconnect();
    expect(code).toBe(1);
    expect(errors).toContain('redis-cli CONFIG SET maxmemory-policy noeviction');
  });

  it('where a Slack token is wrong: which one, and never the token itself', async () => {
    const { code, errors } = await run(
      { ...approvals, SLACK_BOT_TOKEN: 'xoxb-demo-acme,xoxb-9999-nope' },
      'start',
    );
    expect(code).toBe(1);
    expect(errors).toMatch(/token/i);
    expect(errors).not.toContain('xoxb-9999-nope');
  });

  it('where the audit has no directory to go to', async () => {
    const { code, errors } = await run(
      { ...approvals, COUNTERSIGN_AUDIT_DIR: '/nonexistent/audit' },
      'start',
    );
    expect(code).toBe(1);
    expect(errors).toContain('COUNTERSIGN_AUDIT_DIR has to be a directory');
    const file = join(directory, 'a-file');
    writeFileSync(file, '');
    expect((await run({ ...approvals, COUNTERSIGN_AUDIT_DIR: file }, 'start')).errors).toContain(
      'COUNTERSIGN_AUDIT_DIR has to be a directory',
    );
  });

  it('but starts where the bot is not in the channel, and says so to the operator', async () => {
    const channel = parts.slack.world.workspaces[0]?.channels.find(({ id }) => id === 'C0ACMEAPP');
    const bot = parts.slack.world.workspaces[0]?.installation?.botUser;
    if (channel === undefined || bot === undefined) throw new Error('the demo world has changed');
    channel.members = channel.members.filter((member) => member !== bot);
    await parts.approvals.stop();
    await parts.approvals.start();
    expect(readFileSync(parts.approvals.logPath, 'utf8')).toContain('/invite @Countersign');
  });
});

/** The command line as an operator has it, with just these variables. */
async function run(
  env: Record<string, string | undefined>,
  command: string,
): Promise<{ code: unknown; errors: string }> {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', '--import', HOLDING, CLI, '--env', '/nonexistent.env', command],
    { env: env as Record<string, string>, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] },
  );
  const [output, errors] = [text(child.stdout as Readable), text(child.stderr as Readable)];
  const limit = setTimeout(() => child.kill('SIGKILL'), STARTED_WITHIN_MS);
  const [code] = await once(child, 'exit');
  clearTimeout(limit);
  return { code, errors: `${await errors}${await output}` };
}
