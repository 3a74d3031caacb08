import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { formatProblems, loadPolicy, loadPolicyOrThrow } from '../../src/core/policy/policy-load.ts';
import { type Block, blocksOf } from './blocks.ts';

const page = readFileSync(new URL('../../docs/policy.md', import.meta.url), 'utf8');
const blocks = blocksOf(page);
const sound = blocks.filter(({ info }) => info === 'yaml');
const broken = blocks.flatMap((block, index) =>
  block.info === 'yaml broken' ? [{ ...block, next: blocks[index + 1] }] : [],
);
const name = ({ line }: Block) => `line ${line}`;

/** What `countersign policy check policy.yaml` prints. */
function answerTo(text: string): string {
  try {
    loadPolicyOrThrow(text, { fileName: 'policy.yaml' });
    return 'fine';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

describe('docs/policy.md', () => {
  it('has examples of both kinds', () => {
    expect(sound.length).toBeGreaterThan(3);
    expect(broken.length).toBeGreaterThan(2);
  });

  it.each(sound.map((block) => [name(block), block] as const))('the policy at %s loads', (_, { text }) => {
    const load = loadPolicy(text);
    expect(load.ok ? '' : formatProblems(load.problems, 'policy.yaml')).toBe('');
  });

  it.each(broken.map((block) => [name(block), block] as const))(
    'the broken policy at %s is answered as the page says',
    (_, { text, next }) => {
      expect(next?.info).toBe('text');
      expect(answerTo(text)).toBe(next?.text.trimEnd());
    },
  );

  it('[policy:writes-disabled-by-default] begins with a policy that forbids every write', () => {
    const first = loadPolicyOrThrow(sound[0]?.text ?? '', { fileName: 'policy.yaml' });
    expect(first.policy.write_tools).toEqual({ enabled: false, require_approval: true });
    expect(page).toContain(`policy.yaml is fine. Version ${first.version}`);
  });
});
