import { appendFileSync } from 'node:fs';

/** Where the lines go; set by `npm run faults`. Without it a fault file is a test like any other. */
export const TALLY_FILE = 'COUNTERSIGN_FAULTS_TALLY';

/** One line of the table: what was done, and what came of it. Every call adds to what was said before. */
export interface Tally {
  injected(times?: number): void;
  /** Acknowledged decisions that did not hold. */
  lost(decisions: number): void;
  /** Executions beyond the first of one approval. */
  doubled(executions: number): void;
  /** Proposals neither settled nor `unknown` in the end, and cards that never became right. */
  stuck(things: number): void;
  /** Each time that the files were verified with the public key. */
  audit(verified: boolean): void;
}

/** What one line of the file adds to its row; scripts/faults.mjs sums them. */
export interface TallyLine {
  readonly fault: string;
  readonly injected?: number;
  readonly lost?: number;
  readonly doubled?: number;
  readonly stuck?: number;
  readonly audit?: boolean;
}

export function tally(fault: string, file = process.env[TALLY_FILE]): Tally {
  const say = (line: Omit<TallyLine, 'fault'>) => {
    if (file === undefined || file === '') return;
    // One short write in append mode: several files tally at the same time.
    appendFileSync(file, `${JSON.stringify({ fault, ...line })}\n`);
  };
  return {
    injected: (times = 1) => say({ injected: times }),
    lost: (decisions) => say({ lost: decisions }),
    doubled: (executions) => say({ doubled: executions }),
    stuck: (things) => say({ stuck: things }),
    audit: (verified) => say({ audit: verified }),
  };
}
