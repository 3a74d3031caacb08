import { describe, expect, it } from 'vitest';
import { ArgumentBounds, firstOutOfBounds } from '../../../src/core/policy/resource-bounds.ts';

const outside = (bound: object, args: unknown) =>
  firstOutOfBounds(ArgumentBounds.parse({ properties: { a: bound } }), args)?.argument;

describe('the bounds of an argument', () => {
  it.each<[string, object, unknown]>([
    ['one of a list', { enum: ['x', 2, null, true] }, 2],
    ['exactly a value', { const: null }, null],
    ['a number on the edge', { minimum: 1, maximum: 1 }, 1],
    ['a text as long as allowed, counted in characters', { max_length: 2 }, '👍👍'],
    ['a text under a prefix', { prefix: 'files/' }, 'files/a..b/.hidden'],
    ['a URL under a prefix', { prefix: 'https://api.example.com/v1/' }, 'https://api.example.com/v1/x?y=1'],
    ['a prefix that is no path', { prefix: 'SUP-' }, 'SUP-1..2'],
    ['a list of bounded items', { items: { prefix: 'SUP-' }, max_items: 2 }, ['SUP-1', 'SUP-2']],
    ['an object with bounded parts', { properties: { b: { const: 1 } } }, { b: 1, c: 2 }],
  ])('hold %s', (_, bound, value) => {
    expect(outside(bound, { a: value })).toBeUndefined();
  });

  it.each<[string, object, unknown, string]>([
    ['a number spelt as a text', { enum: [2] }, '2', 'a'],
    ['another case', { enum: ['support'] }, 'Support', 'a'],
    ['a list with the value in it', { const: 'x' }, ['x'], 'a'],
    ['a number below', { minimum: 1 }, 0.999, 'a'],
    ['a number above', { maximum: 10 }, 10.001, 'a'],
    ['a text where a number is bounded', { maximum: 10 }, '5', 'a'],
    ['null where a number is bounded', { minimum: 0 }, null, 'a'],
    ['a long text', { max_length: 2 }, 'abc', 'a'],
    ['a list where a text is bounded', { max_length: 2 }, [], 'a'],
    ['another prefix', { prefix: 'files/' }, 'file', 'a'],
    ['a path that climbs out', { prefix: 'files/' }, 'files/../etc/passwd', 'a'],
    ['a path that climbs out in disguise', { prefix: 'files/' }, 'files/%2e%2E%2fetc', 'a'],
    ['a path that climbs out backwards', { prefix: 'files/' }, 'files/..\\etc', 'a'],
    ['too many items', { max_items: 1 }, [1, 2], 'a'],
    ['one bad item', { items: { const: 1 } }, [1, 2], 'a[1]'],
    ['one value where items are bounded', { items: { const: 1 } }, 1, 'a'],
    ['a bad part', { properties: { b: { const: 1 } } }, { b: 2 }, 'a.b'],
    ['a missing part', { properties: { b: { const: 1 } } }, {}, 'a.b'],
    ['a list for an object', { properties: { b: { const: 1 } } }, [], 'a'],
  ])('keep out %s', (_, bound, value, argument) => {
    expect(outside(bound, { a: value })).toBe(argument);
  });

  it('want a bounded argument to be there, unless it is optional', () => {
    expect(outside({ const: 1 }, {})).toBe('a');
    expect(outside({ const: 1, optional: true }, {})).toBeUndefined();
    expect(outside({ const: 1, optional: true }, { a: 2 })).toBe('a');
    expect(outside({ const: 1 }, Object.create({ a: 1 }))).toBe('a');
  });

  it.each([null, 'text', 1, [], [{ a: 1 }]])('keep out arguments that are no object: %j', (args) => {
    expect(outside({ const: 1 }, args)).toBe('(the arguments)');
  });
});
