import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect } from 'vitest';
import { evaluate } from '../../src/core/policy/evaluate.ts';
import { loadPolicy } from '../../src/core/policy/policy-load.ts';
import { GROWN, SAFE_DEFAULT, TOOLS } from '../core/policy/policies.ts';
import { blocksOf } from '../docs/blocks.ts';
import { testContext } from '../sealed-terms.ts';
import { bentText, fuzz } from './fuzz.ts';

/** A policy that somebody mistyped is a list of errors, or it means no more than its text says. */

const page = readFileSync(new URL('../../docs/policy.md', import.meta.url), 'utf8');
const POLICIES = [
  SAFE_DEFAULT,
  GROWN,
  ...blocksOf(page)
    .filter(({ info }) => info.startsWith('yaml'))
    .map(({ text }) => text),
];
const PIECES = [
  ...[
    'true',
    'false',
    'on',
    'off',
    'yes',
    'null',
    '~',
    '0o17',
    '0x10',
    '1e3',
    '&a ',
    '*a',
    '<<: *a',
    '!!js ',
    '? ',
    '- ',
  ],
  ...[
    '---\n',
    '...\n',
    '%YAML 1.1\n',
    '\t',
    '  ',
    '\n',
    '#',
    "'",
    '"',
    '{',
    '}',
    '[',
    ']',
    ',',
    ': ',
    '|\n',
    '>\n',
  ],
  ...[
    'enabled: true',
    'require_approval: false',
    '"*"',
    'auto_approve:',
    'tenants:',
    'quorum: 0',
    'quorum: 1e9',
  ],
  ...[
    'db.write',
    'ticket.close',
    'acme',
    'production',
    '\u200b',
    '\ufeff',
    'а',
    '__proto__: 1',
    'constructor: 1',
  ],
];
const lines = fc
  .tuple(
    fc.constantFrom(...POLICIES),
    fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat({ max: 3 })), { maxLength: 4 }),
  )
  .map(([policy, moves]) =>
    moves
      .reduce((rows, [from, to, how]) => {
        const row = rows[from % rows.length] ?? '';
        const at = to % (rows.length + 1);
        if (how === 0) return rows.toSpliced(from % rows.length, 1);
        if (how === 1) return rows.toSpliced(at, 0, row);
        if (how === 2) return rows.toSpliced(at, 0, `  ${row}`);
        return rows.toSpliced(from % rows.length, 1, row.trimStart());
      }, policy.split('\n'))
      .join('\n'),
  );
const text = fc.oneof(bentText(lines, PIECES), lines, fc.string({ unit: 'binary', maxLength: 300 }));

const CALLS = TOOLS.flatMap((tool) =>
  ['acme', 'globex', 'nobody'].flatMap((tenant) =>
    ['production', 'staging', 'nowhere'].map((environment) => ({ tool, tenant, environment })),
  ),
);

fuzz(
  'the policy loader',
  fc.property(text, fc.boolean(), (policy, withTools) => {
    const loaded = loadPolicy(policy, withTools ? { tools: TOOLS } : {});
    if (!loaded.ok) {
      expect(loaded.problems.length).toBeGreaterThan(0);
      for (const { line, message } of loaded.problems) {
        expect(line).toBeGreaterThan(0);
        expect(message).not.toBe('');
      }
      return;
    }
    for (const { tool, tenant, environment } of CALLS) {
      const context = testContext({ tenant, environment });
      const { verdict } = evaluate(loaded, {
        context,
        tool,
        toolName: tool.name,
        args: { queue: 'support' },
      });
      if (verdict === 'forbid') continue;
      // Allowed only where its text names the tool, and the tenant and the environment where it has any.
      expect(policy).toContain(tool.name);
      expect(policy).toContain(tenant);
      expect(policy).toContain(environment);
      if (tool.effect === 'read') continue;
      expect(policy).toMatch(/enabled["']?\s*:\s*["']?true/);
      if (verdict === 'allow') expect(policy).toMatch(/auto_approve|require_approval["']?\s*:\s*["']?false/);
    }
  }),
  { atLeast: 100 },
);
