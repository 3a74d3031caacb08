import { StoreUnavailable } from '../core/proposal/proposal-store.ts';
import { CallError, Unavailable } from './call-errors.ts';

/** What the store answers, or why the caller gets no answer, in words for a model. @throws Unavailable */
export async function available<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (cause) {
    if (cause instanceof StoreUnavailable) {
      throw new Unavailable(
        'The approval service cannot be reached right now, so writes are refused. Nothing was done. Try again later.',
        { cause },
      );
    }
    if (cause instanceof CallError) throw cause;
    throw new Unavailable(
      'What is stored is damaged, or written by another version, so writes are refused. Nothing more was done. Tell an operator; trying again does not help.',
      { cause, retryable: false },
    );
  }
}
