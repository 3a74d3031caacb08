// Loaded before a process's own code: its wall clock is ahead of the machine's by as many milliseconds as stand in the
// file, and steps when somebody writes another number there. Timers and the monotonic clock are left alone, as an
// operator's `date -s` leaves them.
import { readFileSync } from 'node:fs';

const file = process.env.SHIFTED_CLOCK;
const RealDate = globalThis.Date;
let readAt = Number.NEGATIVE_INFINITY;
let ahead = 0;

function now() {
  if (performance.now() - readAt > 20) {
    ahead = Number(readFileSync(file, 'utf8'));
    readAt = performance.now();
  }
  return RealDate.now() + ahead;
}

globalThis.Date = class ShiftedDate extends RealDate {
  constructor(...args) {
    super(...(args.length === 0 ? [now()] : args));
  }
  static now() {
    return now();
  }
};
