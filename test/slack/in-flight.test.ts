import { EventEmitter, once } from 'node:events';
import { expect, it } from 'vitest';
import { InFlight } from '../../src/slack/in-flight.ts';

it('a drain waits for what has begun, also for what that begins', async () => {
  const inFlight = new InFlight();
  const signals = new EventEmitter();
  const ended: string[] = [];
  const later = once(signals, 'later').then(() => ended.push('later'));
  const now = once(signals, 'now').then(() => {
    ended.push('now');
    void inFlight.track(later);
  });
  void inFlight.track(now);
  const drained = inFlight.drain(60_000);
  signals.emit('now');
  await new Promise(setImmediate);
  signals.emit('later');
  expect(await drained).toBe(0);
  expect(ended).toEqual(['now', 'later']);
});

it('what does not end in time is counted, and what failed is not', async () => {
  const inFlight = new InFlight();
  void inFlight.track(new Promise(() => {}));
  inFlight.track(Promise.reject(new Error('refused'))).catch(() => {});
  expect(await inFlight.drain(10)).toBe(1);
});
