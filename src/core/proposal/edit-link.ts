import { canonicalJson } from '../tool/canonical-json.ts';
import type { ProposalRecord } from './proposal.ts';
import type { ProposalTerms } from './proposal-terms.ts';
import { type ProposalKey, type SealedTerms, unseal } from './seal.ts';

/**
 * The terms of the proposal that a person put in the place of `old`, if that is what `record` holds. What a halted record
 * says about its successor anybody may have written; the successor says under its own seal whose place it took.
 */
export function successorOf(
  old: ProposalTerms,
  record: ProposalRecord | undefined,
  keys: readonly ProposalKey[],
): (SealedTerms & { terms: { edits: NonNullable<ProposalTerms['edits']> } }) | undefined {
  if (record === undefined) return undefined;
  const opened = unseal(keys, record.termsText, record.seal);
  if (!opened.ok || opened.sealed.terms.id !== record.id) return undefined;
  const { sealed } = opened;
  const { edits, context, tool } = sealed.terms;
  if (edits === undefined) return undefined;
  const took =
    edits.from === old.id &&
    edits.arguments === old.arguments &&
    tool === old.tool &&
    canonicalJson({ ...context }) === canonicalJson({ ...old.context });
  return took ? { ...sealed, terms: { ...sealed.terms, edits } } : undefined;
}
