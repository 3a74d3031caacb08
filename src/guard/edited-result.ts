import type { EditTerms, ProposalTerms } from '../core/proposal/proposal-terms.ts';
import type { JsonValue } from '../core/tool/strict-json.ts';
import { visibleText } from '../core/tool/visible-text.ts';
import { CallError } from './call-errors.ts';

/**
 * What a call resolves with where a person changed its arguments before it was approved: never the tool's result alone,
 * so that nobody, a model least of all, takes it for the result of what was asked. As JSON it says the same.
 */
export class EditedResult {
  /** For a model: that something else ran. */
  readonly note: string;
  /** The arguments that ran. */
  readonly ranInstead: JsonValue;
  /** `slack:T…/U…` */
  readonly editedBy: string;
  /** What the tool answered to them. */
  readonly result: unknown;

  constructor(edits: EditTerms, ran: string, result: unknown) {
    this.note = `${edits.by} changed the arguments of this call before it was approved, so what ran is not what you asked for. Go by ranInstead and result; do not repeat the call to get your own way.`;
    this.ranInstead = JSON.parse(ran) as JsonValue;
    this.editedBy = edits.by;
    this.result = result;
  }
}

/** The result of the call as it stands, with what a person changed in it said in every outcome. @throws CallError */
export function withEdit({ edits, arguments: args }: ProposalTerms, result: () => unknown): unknown {
  if (edits === undefined) return result();
  try {
    return new EditedResult(edits, args, result());
  } catch (error) {
    if (error instanceof CallError) {
      error.message = `${edits.by} had changed the arguments of this call to ${visibleText(args).text}, so what follows is about them and not about what you asked for. ${error.message}`;
    }
    throw error;
  }
}
