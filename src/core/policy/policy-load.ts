import type { LoadedPolicy } from './policy.ts';
import type { PolicyTool } from './policy-tool.ts';

export interface PolicyProblem {
  readonly line: number;
  readonly column: number;
  readonly path: string;
  readonly message: string;
}

export type PolicyLoad =
  | ({ readonly ok: true } & LoadedPolicy)
  | { readonly ok: false; readonly problems: readonly PolicyProblem[] };

export interface PolicyLoadOptions {
  readonly tools?: Iterable<PolicyTool> | undefined;
}

export declare function loadPolicy(text: string, options?: PolicyLoadOptions): PolicyLoad;
export declare function formatProblems(problems: readonly PolicyProblem[], fileName: string): string;
/** @throws PolicyInvalidError */
export declare function loadPolicyOrThrow(
  text: string,
  options: PolicyLoadOptions & { readonly fileName: string },
): LoadedPolicy;

export declare class PolicyInvalidError extends Error {
  override readonly name: 'PolicyInvalidError';
  readonly code: 'policy_invalid';
  readonly problems: readonly PolicyProblem[];
}
