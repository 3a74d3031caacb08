import { PARTS } from './sweep-installation.ts';
import type { Aim } from './sweep-strike.ts';

type End = Pick<Aim, 'part' | 'signal'>;

const ENDS: readonly End[] = PARTS.flatMap((part) =>
  (['SIGKILL', 'SIGSTOP'] as const).map((signal) => ({ part, signal })),
);
/** Two parts, and what befalls each. */
const COMBINATIONS: readonly (readonly [End, End])[] = ENDS.flatMap((one, i) =>
  ENDS.slice(i + 1).flatMap((other) => (one.part === other.part ? [] : [[one, other] as const])),
);

/** Faults in two parts of one installation, the second of which struck while the first part was down or frozen. */
export class Pairs {
  readonly #times = COMBINATIONS.map(() => 0);

  get count(): number {
    return this.#times.reduce((sum, times) => sum + times, 0);
  }

  /**
   * Of those that were in no pair yet, in the order that they stand in, in the combination that was there least often;
   * where only one of the two parts has any left, the other one's is one that was reached before.
   */
  next(left: readonly Aim[], reached: readonly Aim[]): readonly [Aim, Aim] | undefined {
    const rarest = COMBINATIONS.map((ends, i) => ({ ends, times: this.#times[i] ?? 0 }));
    for (const { ends } of rarest.toSorted((a, b) => a.times - b.times)) {
      const fresh = ends.map((end) => left.find((aim) => isOf(end, aim)));
      if (fresh.every((aim) => aim === undefined)) continue;
      const [one, other] = ends.map((end, i) => fresh[i] ?? reached.find((aim) => isOf(end, aim)));
      if (one !== undefined && other !== undefined) return [one, other];
    }
    return undefined;
  }

  met(one: End, other: End): void {
    const at = COMBINATIONS.findIndex(
      ([a, b]) => (isOf(a, one) && isOf(b, other)) || (isOf(a, other) && isOf(b, one)),
    );
    this.#times[at] = (this.#times[at] ?? 0) + 1;
  }

  /** Combinations that never came. */
  missing(): string[] {
    return COMBINATIONS.flatMap((ends, i) =>
      this.#times[i] === 0 ? [ends.map(({ part, signal }) => `${signal} ${part}`).join(' + ')] : [],
    );
  }

  summary(): string {
    if (this.count === 0) return 'No pairs';
    const missing = this.missing();
    const covered = `${COMBINATIONS.length - missing.length} of the ${COMBINATIONS.length} combinations of two parts and what befalls each`;
    return `${this.count} pairs, in ${covered}${missing.length === 0 ? '' : `; never ${missing.join(', ')}`}`;
  }
}

function isOf(end: End, { part, signal }: End): boolean {
  return end.part === part && end.signal === signal;
}
