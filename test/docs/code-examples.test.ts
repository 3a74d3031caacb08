import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { blocksOf } from './blocks.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const PAGES = ['tools.md', 'api.md'] as const;
const examples = PAGES.flatMap((page) =>
  blocksOf(readFileSync(join(root, 'docs', page), 'utf8'))
    .filter(({ info }) => info === 'ts')
    .map((block) => ({ ...block, page, file: `${page.replace('.md', '')}-line-${block.line}.ts` })),
);
/** What api.md calls `./tools.ts`. */
const tools = examples.find(({ page }) => page === 'tools.md')?.text ?? '';

/** A host's directory: `countersign` is this source tree, everything else what is installed. */
let host: string;

beforeAll(() => {
  host = mkdtempSync(join(tmpdir(), 'countersign-docs-'));
  symlinkSync(join(root, 'node_modules'), join(host, 'node_modules'));
  writeFileSync(join(host, 'package.json'), JSON.stringify({ type: 'module' }));
  const compilerOptions = {
    noEmit: true,
    types: ['node'],
    paths: { countersign: [join(root, 'src', 'index.ts')] },
  };
  writeFileSync(
    join(host, 'tsconfig.json'),
    JSON.stringify({ extends: join(root, 'tsconfig.json'), compilerOptions, include: ['*.ts'] }),
  );
  for (const { file, text } of examples) writeFileSync(join(host, file), text);
  writeFileSync(join(host, 'tools.ts'), tools);
});

afterAll(() => rmSync(host, { recursive: true, force: true }));

describe('the code in docs/', () => {
  it('is there on each page', () => {
    for (const page of PAGES) expect(examples.filter((example) => example.page === page)).not.toEqual([]);
  });

  it('type-checks against the public interface', async () => {
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const checked = await run(process.execPath, [tsc, '-p', host, '--pretty', 'false']).catch(
      (error: { stdout: string }) => error,
    );
    const own = checked.stdout.split('\n').filter((line) => /(?:tools|api)-line-\d+\.ts/.test(line));
    expect(own).toEqual([]);
  });

  it('defines tools that can be loaded', async () => {
    writeFileSync(
      join(host, 'names.mjs'),
      `import { tools } from './tools.ts';\nconsole.log(tools.map(({ name, effect }) => name + ' ' + effect).join(', '));\n`,
    );
    const tsx = join(root, 'node_modules', 'tsx', 'dist', 'cli.mjs');
    const { stdout } = await run(process.execPath, [
      tsx,
      '--tsconfig',
      join(host, 'tsconfig.json'),
      join(host, 'names.mjs'),
    ]);
    expect(stdout.trim()).toBe('ticket.read read, ticket.close write');
  });

  it('shows a tool that reads the pages of its hosts and refuses every other URL', async () => {
    const example = examples.find(({ text }) => text.includes('fetchPublic'));
    const judged = ['https://status.example.com/', 'https://169.254.169.254/', 'https://example.org/'];
    writeFileSync(
      join(host, 'urls.mjs'),
      `import { tools } from './${example?.file}';
      const [tool] = tools;
      for (const url of ${JSON.stringify(judged)}) console.log(tool.name, tool.input.safeParse({ url }).success);
      tool.execute({ url: '${judged[1]}' }, {}).catch((error) => console.log(error.name));`,
    );
    const tsx = join(root, 'node_modules', 'tsx', 'dist', 'cli.mjs');
    const { stdout } = await run(process.execPath, [
      tsx,
      '--tsconfig',
      join(host, 'tsconfig.json'),
      join(host, 'urls.mjs'),
    ]);
    expect(stdout.split('\n')).toEqual(['http.get true', 'http.get false', 'http.get false', 'ZodError', '']);
  });
});
