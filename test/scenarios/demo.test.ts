import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, it } from 'vitest';

it('the demo plays its whole story by itself, and each expected thing happens', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'countersign-demo-'));
  try {
    const cli = join(import.meta.dirname, '..', '..', 'dist', 'cli.js');
    const demo = spawn(process.execPath, [cli, 'demo', '--auto'], {
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [output, errors] = [text(demo.stdout), text(demo.stderr)];
    const [code] = await once(demo, 'exit');
    expect({ code, output: await output, errors: await errors }).toMatchObject({ code: 0, errors: '' });
    expect(await output).toContain('closed wrongly: 0 (without the guard: 41)');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}, 90_000);
