import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { parseEnv } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { type DemoParts, startDemoParts } from '../src/demo/demo-parts.ts';
import { SlackPerson } from '../src/sandbox/slack/slack-person.ts';
import { ACTIONS } from '../src/slack/card.ts';
import { NOT_YET_COVERED, REQUIREMENTS } from './requirements.ts';

const ROOT = join(import.meta.dirname, '..');
const README = readFileSync(join(ROOT, 'README.md'), 'utf8');

let parts: DemoParts | undefined;
let directory: string | undefined;
afterAll(async () => {
  await parts?.stop();
  if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
});

describe('the README', () => {
  it('runs: its code proposes a call, Ana approves it in Slack, and it prints the result', async () => {
    mkdirSync(join(ROOT, '.countersign'), { recursive: true });
    // Inside the package, where `countersign` is the package itself.
    directory = mkdtempSync(join(ROOT, '.countersign', 'readme-'));
    parts = await startDemoParts({ directory: join(directory, 'demo'), port: 0, tally: () => ({}) });
    await parts.writeSwitch.on({ scope: {}, by: 'cli:test', why: 'the README', expectedEpoch: 0 });
    const demo = parts.directory;
    const tools = readFileSync(join(demo, 'tools.mjs'), 'utf8')
      .replace('/src/', '/dist/')
      .replace('.ts"', '.js"');
    writeFileSync(join(demo, 'tools.js'), tools);
    const example = join(demo, 'example.js');
    writeFileSync(example, codeOf(README));
    const env = parseEnv(readFileSync(join(demo, 'executor.env'), 'utf8'));

    const child = spawn(process.execPath, [example], { cwd: demo, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const output = text(child.stdout);
    const errors = text(child.stderr);
    const ana = new SlackPerson(parts.slack.url, { team: 'T0ACME', user: 'U0ANA' });
    const card = await ana.waitForMessage(
      'C0ACMEAPP',
      (message) => message.blocks.some((block) => block.type === 'actions'),
      20_000,
    );
    await ana.click(card, ACTIONS.approve);
    const [code] = await once(child, 'exit');
    expect({ code, errors: await errors }).toMatchObject({ code: 0 });
    expect(await output).toContain('ACME-1016');
    expect((await parts.helpDesk.journal()).map((entry) => entry.subject)).toEqual(['ACME-1016']);
  });

  it('shows twelve lines of code or so, a picture that is there, and the pipeline', () => {
    const lines = codeOf(README)
      .split('\n')
      .filter((line) => line.trim() !== '' && !line.trim().startsWith('//'));
    expect(lines.length).toBeLessThanOrEqual(14);
    const [, picture = ''] = /!\[[^\]]+\]\(([^)]+)\)/.exec(README) ?? [];
    expect(existsSync(join(ROOT, picture))).toBe(true);
    expect(README).toContain(
      'kill switch → policy → budget → proposal → people → admission → execution → audit',
    );
  });

  it('promises what the requirements promise, and no more', () => {
    const covered = REQUIREMENTS.filter(({ id }) => !(id in NOT_YET_COVERED));
    expect(section('promises')).toBe(covered.map(({ promise }) => `- ${promise}`).join('\n'));
    expect(section('not yet')).toBe(
      REQUIREMENTS.filter(({ id }) => id in NOT_YET_COVERED)
        .map(({ id, promise }) => `- ${promise} (${NOT_YET_COVERED[id]})`)
        .join('\n'),
    );
  });

  it('links to files that are there', () => {
    for (const [, target = ''] of README.matchAll(/\]\(([^)#:]+)\)/g))
      expect({ target, there: existsSync(join(ROOT, target)) }).toEqual({ target, there: true });
  });
});

function codeOf(readme: string): string {
  const [, code] = /```ts\n([\s\S]*?)```/.exec(readme) ?? [];
  if (code === undefined) throw new Error('the README has no ts block');
  return code;
}

function section(name: string): string {
  const [, body] = new RegExp(`<!-- ${name}[^>]*-->\\n([\\s\\S]*?)\\n?<!-- /${name} -->`).exec(README) ?? [];
  return (body ?? '').trim();
}
