import { describe, expect, it } from 'vitest';
import { ArgumentPattern, patternCovers, patternOf } from '../../../src/core/grant/argument-pattern.ts';
import { type JsonValue, parseStrictJson } from '../../../src/core/tool/strict-json.ts';

/** Names of prototypes never get past the strict reader; a pattern is not to rely on that. */
function json(text: string): JsonValue {
  const parsed = parseStrictJson(text);
  return parsed.ok ? parsed.value : (JSON.parse(text) as JsonValue);
}

const covers = (approved: string, free: string[], asked: string) => {
  const pattern = patternOf(json(approved), new Set(free));
  return pattern !== undefined && patternCovers(pattern, json(asked));
};

describe('the pattern of a grant', () => {
  it('covers the very same call, in whatever order its keys were written', () => {
    expect(covers('{"a":1,"b":[true,null]}', [], '{"b":[true,null],"a":1}')).toBe(true);
  });

  it.each([
    ['another value', '{"a":2}'],
    ['a text for a number', '{"a":"1"}'],
    ['an argument more', '{"a":1,"b":1}'],
    ['an argument less', '{}'],
    ['another name', '{"A":1}'],
    ['a name of a prototype in its place', '{"constructor":1}'],
    ['no object at all', '[1]'],
    ['nothing', 'null'],
  ])('covers no call with %s', (_, asked) => {
    expect(covers('{"a":1}', [], asked)).toBe(false);
  });

  it.each(['constructor', 'toString', 'hasOwnProperty', 'valueOf', 'then'])(
    'takes %s for a name like any other',
    (name) => {
      expect(covers(`{"${name}":1}`, [], `{"${name}":1}`)).toBe(true);
      expect(covers(`{"${name}":1}`, [], `{"${name}":2}`)).toBe(false);
      expect(covers(`{"${name}":1}`, [name], `{"${name}":2}`)).toBe(true);
      expect(covers(`{"${name}":1}`, [name], '{}')).toBe(false);
      expect(covers('{}', [], `{"${name}":1}`)).toBe(false);
    },
  );

  it('lets only what is free differ, and that in every way', () => {
    expect(covers('{"a":1,"b":2}', ['b'], '{"a":1,"b":{"deep":[1]}}')).toBe(true);
    expect(covers('{"a":1,"b":2}', ['b'], '{"a":2,"b":2}')).toBe(false);
    expect(covers('{"a":1,"b":2}', ['b'], '{"a":1}')).toBe(false);
  });

  it.each([
    ['a look-alike letter', '{"a":"аcme"}'],
    ['an invisible character', '{"a":"acme\\u200b"}'],
    ['a composed letter', '{"a":"acm\\u0065\\u0301"}'],
    ['blanks at its end', '{"a":"acme "}'],
  ])('is not fooled by %s', (_, asked) => {
    expect(covers('{"a":"acme"}', [], asked)).toBe(false);
  });

  it('compares nested values to their last part', () => {
    const approved = '{"a":{"b":[{"c":1},{"d":"x"}]}}';
    expect(covers(approved, [], '{"a":{"b":[{"c":1},{"d":"x"}]}}')).toBe(true);
    expect(covers(approved, [], '{"a":{"b":[{"d":"x"},{"c":1}]}}')).toBe(false);
    expect(covers(approved, [], '{"a":{"b":[{"c":1},{"d":"x","e":1}]}}')).toBe(false);
  });

  it('frees nothing that the call does not have', () => {
    expect(patternOf(json('{"a":1}'), new Set(['b']))).toBeUndefined();
    expect(patternOf(json('{"a":1}'), new Set(['constructor']))).toBeUndefined();
  });

  it('is refused where a name stands twice or out of order', () => {
    const part = (name: string) => ({ name, may: 'be_anything' });
    expect(ArgumentPattern.safeParse([part('a'), part('b')]).success).toBe(true);
    expect(ArgumentPattern.safeParse([part('a'), part('a')]).success).toBe(false);
    expect(ArgumentPattern.safeParse([part('b'), part('a')]).success).toBe(false);
  });
});
