import type { CallContext } from '../identity/call-context.ts';
import type { LoadedPolicy } from './policy.ts';
import type { PolicyTool } from './policy-tool.ts';
import type { Verdict } from './verdict.ts';

export interface JudgedCall {
  readonly context: CallContext;
  readonly tool: PolicyTool | undefined;
  readonly toolName: string;
  readonly args: unknown;
}

export declare function evaluate(loaded: LoadedPolicy, call: JudgedCall): Verdict;
