import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const docs = new URL('../../docs/', import.meta.url);
const pages = readdirSync(docs).filter((name) => name.endsWith('.md'));

describe('docs/', () => {
  it.each(pages)('%s leads only to files that are there', (page) => {
    const text = readFileSync(new URL(page, docs), 'utf8');
    const targets = [...text.matchAll(/\]\(([^)#\s]+)/g)].map(([, target = '']) => target);
    const lost = targets.filter(
      (target) => !/^https?:/.test(target) && !existsSync(new URL(target, new URL(page, docs))),
    );
    expect(lost).toEqual([]);
  });

  it.each(pages)('%s begins with one sentence that says what it is for', (page) => {
    const [, intro = ''] = readFileSync(new URL(page, docs), 'utf8').split('\n\n');
    expect(intro).toMatch(/^This page [^.]+\.$/);
  });
});
