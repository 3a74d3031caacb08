import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** What Node does by itself now and then, at once: everything that nobody holds is gone. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  // What a weak reference was just made to lives until the turn of the event loop ends.
  await setImmediate();
  collect();
}
