import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROWS } from '../attacks/rows.ts';
import { REQUIREMENTS } from '../requirements.ts';

/** docs/security.md claims nothing that no test shows, and leaves out no promise and no attack. */

const root = join(import.meta.dirname, '..', '..');
const sheet = readFileSync(join(root, 'docs', 'security.md'), 'utf8');

interface Claim {
  readonly item: string;
  readonly asks: string;
  readonly promises: readonly string[];
  readonly evidence: readonly { readonly file: string; readonly title: string }[];
  readonly said: string;
}

/** The rows of the tables whose last two columns are `promises` and `shown by`. */
function claimsOf(page: string): Claim[] {
  const claims: Claim[] = [];
  let columns = 0;
  for (const line of page.split('\n')) {
    const cells = line.split(/(?<!\\)\|/).slice(1, -1);
    if (line.endsWith('| promises | shown by |')) columns = cells.length;
    else if (!line.startsWith('|')) columns = 0;
    else if (columns > 0 && !/^[|-]+$/.test(line)) {
      expect(cells, line).toHaveLength(columns);
      const [promises = '', said = ''] = cells.slice(-2);
      claims.push({
        item: cells[0]?.trim() ?? '',
        asks: cells.at(-3)?.trim() ?? '',
        promises: [...promises.matchAll(/`([^`]+)`/g)].map(([, id = '']) => id),
        evidence: [...said.matchAll(/`(test\/[^`]+)` "([^"]+)"/g)].map(([, file = '', title = '']) => ({
          file,
          title,
        })),
        said: said.trim(),
      });
    }
  }
  return claims;
}

const claims = claimsOf(sheet);
const claimed = claims.filter(({ said }) => !said.startsWith('Not claimed: '));
const sourceOf = (file: string) => readFileSync(join(root, file), 'utf8');

describe('the claims in docs/security.md', () => {
  it('name every item of the standards that the page is about', () => {
    const aisvs = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((n) => `9.2.${n}`);
    aisvs.push('9.5.4', '9.5.6', '9.6.1', '9.6.2', '9.6.3');
    const agentic = ['ASI02', 'ASI03', 'ASI08', 'ASI09', 'ASI10'];
    expect(claims.map(({ item }) => item)).toEqual(expect.arrayContaining([...aisvs, ...agentic]));
    for (const heading of ['### SLSA', '### SOC 2, CC8.1']) expect(sheet).toContain(heading);
  });

  it.each(claims.map((claim) => [`${claim.item}: ${claim.asks}`, claim] as const))(
    '%s has its promises and its tests, or a reason why it is not claimed',
    (_, { promises, evidence, said }) => {
      if (said.startsWith('Not claimed: ')) {
        expect([promises, evidence]).toEqual([[], []]);
        expect(said.length).toBeGreaterThan('Not claimed: '.length + 20);
        return;
      }
      expect(promises).not.toEqual([]);
      expect(evidence).not.toEqual([]);
      // What is in quotes and was not read as evidence would be a claim that nobody checks.
      expect(said.split('"')).toHaveLength(2 * evidence.length + 1);
    },
  );

  it.each(
    claimed.flatMap(({ item, evidence }) => evidence.map((one) => [item, one.file, one.title] as const)),
  )('%s: %s holds "%s"', (_, file, title) => {
    expect(existsSync(join(root, file))).toBe(true);
    expect(sourceOf(file)).toContain(title);
  });

  it('rest on promises that exist, each cited in a file beside it', () => {
    const known = new Set<string>(REQUIREMENTS.map(({ id }) => id));
    const wrong = claimed.flatMap(({ item, promises, evidence }) =>
      promises
        .filter((id) => !known.has(id) || !evidence.some(({ file }) => sourceOf(file).includes(`[${id}]`)))
        .map((id) => `${item} ${id}`),
    );
    expect(wrong).toEqual([]);
  });

  it('leave out no promise', () => {
    const named = new Set(claimed.flatMap(({ promises }) => promises));
    expect(REQUIREMENTS.map(({ id }) => id).filter((id) => !named.has(id))).toEqual([]);
  });

  it('list every attack in the words of the table that the tests are counted by, and its file is there', () => {
    const files = readdirSync(join(root, 'test', 'attacks'));
    for (const { row, attack, required } of ROWS) {
      expect(sheet).toContain(`| ${row} | ${attack} | ${required} |`);
      const start = `row-${String(row).padStart(2, '0')}-`;
      expect(files.filter((file) => file.startsWith(start) && file.endsWith('.test.ts'))).toHaveLength(1);
    }
  });
});

describe('SECURITY.md', () => {
  const policy = sourceOf('SECURITY.md');

  it('leads only to files that are there, and is in the package with the page that it names', () => {
    const targets = [...policy.matchAll(/\]\(([^)]+)\)/g)].map(([, target = '']) => target);
    expect(targets).toContain('docs/security.md');
    expect(targets.filter((target) => !existsSync(join(root, target)))).toEqual([]);
    expect(sourceOf('package.json')).toMatch(/"files": \[[^\]]*"docs\/\*\.md"[^\]]*"SECURITY\.md"/);
  });

  it('names the version that is supported, which is the one of the package', () => {
    const { version } = JSON.parse(sourceOf('package.json'));
    expect(policy).toContain(`| ${version.replace(/\.\d+$/, '.x')} | yes |`);
  });
});
