// Loaded before a process's own code: at SIGUSR2 it clears away what nobody holds, and writes down how much is left.
import { appendFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');

process.on('SIGUSR2', () => {
  collect();
  // What a weak reference was just made to lives until the turn of the event loop ends.
  setImmediate(() => {
    collect();
    const { heapUsed, external } = process.memoryUsage();
    const held = process.getActiveResourcesInfo().length;
    appendFileSync(process.env.GAUGE, `${JSON.stringify({ heap: heapUsed + external, held })}\n`);
  });
});
