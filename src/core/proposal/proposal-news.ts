import type { ProposalId } from './proposal-id.ts';

/**
 * Word that a proposal changed. A hint, never the truth: word can be lost, so whoever waits reads the store after
 * subscribing, after every reconnect (`onGap`), and now and then besides.
 */
export interface ProposalNews {
  /** Resolves once the subscription stands. */
  follow(id: ProposalId, onChange: () => void, onGap: () => void): Promise<() => Promise<void>>;
}
