import { getEventListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { TimeLimit } from '../../../src/core/execution/time-limit.ts';
import { collectGarbage } from '../../collect-garbage.ts';

const never = () => new Promise<never>(() => {});
const later = (ms: number) => ({ ms, or: [new AbortController().signal] });

describe('a time limit', () => {
  it('fires when its time is up, though the garbage was collected before', async () => {
    const fired = Array.from({ length: 50 }, () => new TimeLimit(later(50)).within(never()).catch(nameOf));
    await collectGarbage();
    expect(new Set(await Promise.all(fired))).toEqual(new Set(['TimeoutError']));
  });

  it('fires with a timeout that nobody but it holds, though the garbage was collected before', async () => {
    const limit = () => new TimeLimit({ ms: undefined, or: [AbortSignal.timeout(50)] });
    const fired = Array.from({ length: 50 }, () => limit().within(never()).catch(nameOf));
    await collectGarbage();
    expect(new Set(await Promise.all(fired))).toEqual(new Set(['TimeoutError']));
  });

  it('fires with the first of its signals and with that one’s reason, and says that it was not the time', async () => {
    const [first, second] = [new AbortController(), new AbortController()];
    const limit = new TimeLimit({ ms: 60_000, or: [first.signal, second.signal] });
    const waiting = limit.within(never());
    second.abort(new Error('the second'));
    first.abort(new Error('the first'));
    await expect(waiting).rejects.toThrow('the second');
    expect(limit.signal.reason).toEqual(new Error('the second'));
    expect(limit.timedOut).toBe(false);
    expect(new TimeLimit({ ms: 1, or: [second.signal] }).signal.aborted).toBe(true);
  });

  it('gives what the work gives, and its error', async () => {
    const limit = new TimeLimit(later(60_000));
    await expect(limit.within(Promise.resolve(7))).resolves.toBe(7);
    await expect(limit.within(Promise.reject(new Error('broken')))).rejects.toThrow('broken');
    limit.release();
  });

  it('leaves nothing behind once it is released: no timer, no listener', async () => {
    const other = new AbortController();
    const limit = new TimeLimit({ ms: 20, or: [other.signal] });
    await limit.within(Promise.resolve());
    expect(getEventListeners(other.signal, 'abort')).toHaveLength(1);
    limit.release();
    expect(getEventListeners(other.signal, 'abort')).toEqual([]);
    expect(getEventListeners(limit.signal, 'abort')).toEqual([]);
    other.abort();
    await sleep(40);
    expect(limit.signal.aborted).toBe(false);
    expect(limit.timedOut).toBe(false);
  });

  it('waits through a time that is longer than a timer can be', async () => {
    const limit = new TimeLimit(later(2 ** 40));
    await sleep(20);
    expect(limit.signal.aborted).toBe(false);
    limit.release();
  });
});

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : String(error);
}
