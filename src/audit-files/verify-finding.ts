/** What can be wrong with a chain: its exit code, what it means, and what to do. The worst comes first. */
export const TROUBLES = {
  altered: {
    exitCode: 10,
    means: 'What stands there is not what was sealed and signed: it was changed after the fact.',
    doThis:
      'Keep these files as they are, as evidence. Take the copy that is kept elsewhere, verify that one, and compare the two at this line. Find out who could write here.',
  },
  forked: {
    exitCode: 14,
    means:
      'There are two histories, and the audit key vouches for both: one was shown here and another elsewhere.',
    doThis:
      'Treat the audit key as stolen: replace it. Keep both copies, and compare them from this line on; what only one of them tells is in doubt.',
  },
  rolled_back: {
    exitCode: 15,
    means:
      'A checkpoint that was kept elsewhere tells of more than is here: an older state was put in place of a newer one.',
    doThis:
      'Look for a restored backup or snapshot of this directory. The entries after it are in Redis at best (countersign audit show), or in a copy.',
  },
  reordered: {
    exitCode: 12,
    means: 'Everything may still be there, but not in the order in which it happened.',
    doThis: 'Keep these files as they are, and compare them with the copy that is kept elsewhere.',
  },
  missing: {
    exitCode: 11,
    means: 'Entries that were written once are not here.',
    doThis:
      'Look for the missing lines in a backup, in the copy that is kept elsewhere, or in Redis (countersign audit show). Find out who removed them.',
  },
  truncated: {
    exitCode: 13,
    means: 'The end was cut off.',
    doThis:
      'If a disk was full or a machine went down: start the approval service, which begins a new segment behind what was sealed, and verify again. Else look for the rest in a backup or a copy.',
  },
  unverifiable: {
    exitCode: 16,
    means: 'Nothing here was shown to be false, and nothing vouches for it either.',
    doThis: 'Take away what stands in the way, and verify again.',
  },
} as const;
export type Trouble = keyof typeof TROUBLES;
export type AuditVerdict = 'intact' | Trouble;

export const EXIT_INTACT = 0;
export const EXIT_USAGE = 2;

export interface Finding {
  readonly trouble: Trouble;
  /** One sentence without a full stop: what is wrong just here. */
  readonly says: string;
  /** The first line of the chain that is bad. */
  readonly n?: number;
  /** Where it cannot be told which line is the first bad one: it is one of `n` to `through`. */
  readonly through?: number;
  readonly file?: string;
  /** In the file, from 1. */
  readonly line?: number;
  /** As far as it can be read, which does not mean that it is true. */
  readonly entry?: { readonly seq?: number; readonly kind?: string; readonly proposal?: string };
  /** Instead of what `TROUBLES` says in general. */
  readonly doThis?: string;
}

export function worst(verdicts: readonly AuditVerdict[]): AuditVerdict {
  const order: readonly AuditVerdict[] = [...(Object.keys(TROUBLES) as Trouble[]), 'intact'];
  return order.find((verdict) => verdicts.includes(verdict)) ?? 'intact';
}

export function exitCodeOf(verdict: AuditVerdict): number {
  return verdict === 'intact' ? EXIT_INTACT : TROUBLES[verdict].exitCode;
}
