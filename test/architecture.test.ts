import { readdirSync, readFileSync } from 'node:fs';
import { join, normalize, relative } from 'node:path';
import { describe, expect, it } from 'vitest';

const SRC = join(import.meta.dirname, '..', 'src');

/** Which rooms a room may reach into. Arrows point inwards only; what composes (the files of src itself, the demo) sees everything. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  core: [],
  guard: ['core'],
  redis: ['core'],
  queue: ['core', 'redis'],
  slack: ['core'],
  gateway: ['core', 'guard'],
  'audit-files': ['core'],
  outbound: ['core'],
  sandbox: ['core', 'redis'],
};

/** What core may use of the outside: schemas and hashes. The YAML reader is one file's. */
const CORE_PACKAGES = new Set(['zod', 'node:crypto']);

interface Import {
  readonly file: string;
  readonly target: string;
  /** A type alone: gone before anything runs. */
  readonly erased: boolean;
}

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
const sources = new Map(files.map((file) => [file, readFileSync(join(SRC, file), 'utf8')]));
const imports = [...sources].flatMap(([file, text]) => importsOf(file, text));

describe('the layout', () => {
  it('has its arrows pointing inwards', () => {
    const wrong = imports
      .filter(
        ({ file, target }) => target.startsWith('src/') && !allowed(roomOf(file), roomOf(target.slice(4))),
      )
      .map(({ file, target }) => `${file} imports ${target}`);
    expect(wrong).toEqual([]);
  });

  it('keeps core free of everything but schemas and hashes', () => {
    const wrong = imports
      .filter(
        ({ file, target }) =>
          roomOf(file) === 'core' && !target.startsWith('src/') && !CORE_PACKAGES.has(target),
      )
      .map(({ file, target }) => `${file} imports ${target}`);
    expect(wrong).toEqual(['core/policy/policy-load.ts imports yaml']);
  });

  it('has no clock and no randomness in core', () => {
    const impure =
      /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(|\brandomBytes\(|\brandomUUID\(|\bperformance\./;
    const wrong = [...sources].filter(([file, text]) => roomOf(file) === 'core' && impure.test(code(text)));
    expect(wrong.map(([file]) => file)).toEqual([]);
  });

  it('reads the environment in one file', () => {
    const readers = [...sources]
      .filter(([, text]) => /\bprocess\.env\b/.test(code(text)))
      .map(([file]) => file);
    expect(readers).toEqual(['config.ts']);
  });

  it('joins no signals by AbortSignal.any, in which Node 20 forgets a timeout: core/execution/time-limit.ts', () => {
    const wrong = [...sources].filter(([, text]) => /\bAbortSignal\.any\(/.test(code(text)));
    expect(wrong.map(([file]) => file)).toEqual([]);
  });

  it('[approval:single-use] lets only the proposal store mint an admission', () => {
    const minters = [...sources]
      .filter(([file, text]) => file !== 'core/execution/admission.ts' && /\bmintAdmission\b/.test(text))
      .map(([file]) => file);
    expect(minters).toEqual(['redis/proposal-store-redis.ts']);
  });

  it('keeps the approval private key out of the guard, the queue and the executor', () => {
    const holders = [...sources]
      .filter(
        ([file, text]) =>
          /\b(signDecision|signAttestation|signGrant|approvalPrivateKeyOf)\b/.test(code(text)) &&
          roomOf(file) !== 'core',
      )
      .map(([file]) => roomOf(file));
    expect(new Set(holders)).not.toContain('guard');
    expect(new Set(holders)).not.toContain('queue');
  });

  it('lets only the sealer sign the audit', () => {
    const signers = [...sources]
      .filter(
        ([file, text]) =>
          /\b(signCheckpoint|auditPrivateKeyOf)\b/.test(code(text)) && roomOf(file) !== 'core',
      )
      .map(([file]) => file);
    expect(signers.sort()).toEqual(['audit-files/sealing.ts', 'config.ts']);
  });

  it('has no cycles between files', () => {
    expect(firstCycle()).toBeUndefined();
  });

  it('names files after concepts, not drawers', () => {
    const drawers = files.filter((file) =>
      /(^|\/)(utils?|helpers?|types|common|misc|managers?)\.ts$/.test(file),
    );
    expect(drawers).toEqual([]);
  });
});

function importsOf(file: string, text: string): Import[] {
  const statements = /^(?:import|export)\s+(type\s)?(?:[^;'"]*?\sfrom\s+)?'([^']+)'|\bimport\('([^']+)'\)/gm;
  return [...code(text).matchAll(statements)].map(([, type, from, dynamic]) => {
    const target = from ?? dynamic ?? '';
    const path = target.startsWith('.') ? `src/${normalize(join(file, '..', target))}` : target;
    return { file, target: path, erased: type !== undefined };
  });
}

function roomOf(file: string): string {
  return file.includes('/') ? (file.split('/')[0] ?? '') : '.';
}

function allowed(from: string, to: string): boolean {
  return from === '.' || from === 'demo' || from === to || (MAY_IMPORT[from] ?? []).includes(to);
}

function code(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|\s)\/\/.*$/gm, '');
}

function firstCycle(): string | undefined {
  const graph = new Map<string, string[]>();
  for (const { file, target, erased } of imports) {
    if (erased || !target.startsWith('src/')) continue;
    graph.set(file, [...(graph.get(file) ?? []), relative('src', target)]);
  }
  const done = new Set<string>();
  const visit = (file: string, path: string[]): string | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file].join(' → ');
    if (done.has(file)) return undefined;
    for (const next of graph.get(file) ?? []) {
      const cycle = visit(next, [...path, file]);
      if (cycle !== undefined) return cycle;
    }
    done.add(file);
    return undefined;
  };
  for (const file of graph.keys()) {
    const cycle = visit(file, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}
