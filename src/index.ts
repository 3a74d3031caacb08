/** Countersign puts a human's signature on every write that an AI agent makes. */

export type { CredentialProvider, CredentialScope } from './core/execution/credentials.ts';
export { Credentials, CredentialsUnavailable } from './core/execution/credentials.ts';
export { ToolRejected } from './core/execution/tool-rejected.ts';
export type { CallContextInput } from './core/identity/call-context.ts';
export { loadPolicyOrThrow, PolicyInvalidError } from './core/policy/policy-load.ts';
export { PolicyHolder } from './core/policy/policy-source.ts';
export { StoreUnavailable } from './core/proposal/proposal-store.ts';
export { ProposalKeyTooShort } from './core/proposal/seal.ts';
export {
  defineTool,
  type ToolDefinition,
  ToolDefinitionInvalid,
  type ToolRun,
  type ToolSpec,
} from './core/tool/tool.ts';
export { DuplicateTool } from './core/tool/tool-registry.ts';
export { createGuard, type GuardOptions, type OpenGuard } from './create-guard.ts';
export {
  ApprovalDenied,
  ApprovalExpired,
  CallError,
  CoolingDown,
  ExecutionFailed,
  Halted,
  InvalidArguments,
  OutcomeUnknown,
  PendingLimit,
  PermissionDenied,
  StillPending,
  Unavailable,
  Withdrawn,
  WritesDisabled,
} from './guard/call-errors.ts';
export { EditedResult } from './guard/edited-result.ts';
export type { ToolCallInput } from './guard/guard.ts';
export type { ProposalHandle } from './guard/proposal-handle.ts';
export type { WaitOptions } from './guard/waiting.ts';
export { fetchPublic, PublicFetchFailed, type PublicFetchOptions } from './outbound/fetch-public.ts';
export { type PublicUrlRules, publicHttpsUrl } from './outbound/public-https-url.ts';
export { CredentialsFromFiles } from './queue/credentials-from-files.ts';
export { RedisUnfit } from './redis/connection.ts';
