import type { PersonId, TenantId } from '../core/identity/ids.ts';
import type { KnownBlock } from './wording.ts';

export const WRITES_COMMAND = '/agent-writes';

/** Who typed, and where they belong, from the signed body. */
export interface Typist {
  readonly person: PersonId;
  readonly user: string;
  /** The team under which the policy names this workspace. */
  readonly team: string;
  /** The tenants that decide in this workspace: the only ones that a text typed here can name. */
  readonly tenants: readonly TenantId[];
}

/** What is answered, to the typist alone: our words, and what somebody else wrote as its writer wrote it. */
export interface Answer {
  readonly text: string;
  readonly why?: string | undefined;
  /** In place of the text, which then is what screen readers get. */
  readonly blocks?: readonly KnownBlock[] | undefined;
  /** What is told afterwards, if ever anything is. Must not reject. */
  readonly later?: Promise<Answer | undefined> | undefined;
}

/**
 * A word after `/agent-writes` that looks at something or asks for something, for full members of the workspace. The
 * switch itself is none: `off` and `on` have rules of their own.
 */
export interface Subcommand {
  /** One word of small letters. */
  readonly name: string;
  /** One line of our own mrkdwn for `help`, beginning with what to type. */
  readonly help: string;
  /** @param words what was typed after the name, on one line. */
  run(typist: Typist, words: string): Promise<Answer>;
}
