import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { NOT_YET_COVERED, REQUIREMENTS } from './requirements.ts';

const ids = new Set<string>(REQUIREMENTS.map((requirement) => requirement.id));
const cited = citations();

describe('the requirements', () => {
  it('each have an id of their own', () => {
    expect(ids.size).toBe(REQUIREMENTS.length);
  });

  it('are each verified by a test, or listed by name as not yet covered', () => {
    const uncovered = [...ids].filter((id) => !cited.has(id));
    expect(uncovered).toEqual(Object.keys(NOT_YET_COVERED));
    console.log(
      [
        `requirements: ${ids.size - uncovered.length} of ${ids.size} verified by tests; not yet covered: ${uncovered.length}`,
        ...uncovered.map((id) => `  not yet covered: ${id} (${NOT_YET_COVERED[id]})`),
      ].join('\n'),
    );
  });

  it('are the only ones that tests cite', () => {
    const unknown = [...cited].filter(([id]) => !ids.has(id)).map(([id, file]) => `${id} in ${file}`);
    expect(unknown).toEqual([]);
  });
});

/** Ids in square brackets at the head of a test's title, with a file that cites them. */
function citations(): Map<string, string> {
  const found = new Map<string, string>();
  for (const file of testFiles()) {
    for (const [, list] of readFileSync(file, 'utf8').matchAll(/\[((?:[a-z]+:[a-z-]+(?:,? )?)+)\] /g)) {
      for (const id of list?.split(/,? /) ?? []) found.set(id, file);
    }
  }
  return found;
}

function testFiles(): string[] {
  const root = import.meta.dirname;
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(test|contract)\.ts$/.test(name) && name !== 'requirements.test.ts')
    .map((name) => join(root, name));
}
