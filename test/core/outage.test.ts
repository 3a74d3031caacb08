import { describe, expect, it } from 'vitest';
import { Outage } from '../../src/core/outage.ts';

describe('what is tried again and again', () => {
  it('is said when it begins to fail and when it works again, and not in between', async () => {
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
    for (const why of ['a cut', 'a time-out', 'a time-out']) expect(await fails(why)).toBe('nothing');
    expect(said).toEqual(['it is away: Error: a cut']);
    for (let times = 0; times < 2; times += 1) expect(await works()).toBe('something');
    expect(said).toEqual(['it is away: Error: a cut', 'it is back']);
    await fails('once more');
    expect(said).toHaveLength(3);
  });

  it('may fail before it has begun', async () => {
    const outage = new Outage({ warn() {}, info() {} }, { began: '', over: '' });
    const throws = () => {
      throw new Error('at once');
    };
    expect(await outage.attempt(throws, 0)).toBe(0);
  });
});
