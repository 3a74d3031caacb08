import { describe, expect, it } from 'vitest';
import { Outage } from '../../src/core/outage.ts';

describe('what is tried again and again', () => {
  it('is said when it begins to fail, when it fails otherwise, and when it works again, and not in between', async () => {
    const said: string[] = [];
    const logger = {
      warn: ({ err }: { err: unknown }, message: string) => said.push(`${message}: ${String(err)}`),
      info: (message: string) => said.push(message),
    };
    const outage = new Outage(logger, { began: 'it is away', over: 'it is back' });
    const fails = (why: string) => outage.attempt(() => Promise.reject(new Error(why)), 'nothing');
    const works = () => outage.attempt(() => Promise.resolve('something'), 'nothing');
    expect(await works()).toBe('something');
    expect(said).toEqual([]);
    for (const why of ['a cut', 'full', 'a cut', 'full']) expect(await fails(why)).toBe('nothing');
    expect(said.splice(0)).toEqual(['it is away: Error: a cut', 'it is away: Error: full']);
    for (let times = 0; times < 2; times += 1) expect(await works()).toBe('something');
    expect(said.splice(0)).toEqual(['it is back']);
    for (let times = 0; times < 100; times += 1) await fails(`after ${times} ms`);
    expect(said).toHaveLength(5);
  });

  it('may fail before it has begun', async () => {
    const outage = new Outage({ warn() {}, info() {} }, { began: '', over: '' });
    const throws = () => {
      throw new Error('at once');
    };
    expect(await outage.attempt(throws, 0)).toBe(0);
  });
});
