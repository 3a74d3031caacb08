import { APPROVAL_DEFAULTS, type ApprovalTerms, EVERY_TOOL } from './policy.ts';

/** What people decide under, once a rule's own words, the defaults and the built-in values are laid over each other. */
export interface EffectiveTerms {
  readonly approvers: NonNullable<ApprovalTerms['approvers']>;
  readonly quorum: number;
  readonly expiresInMs: number;
  readonly startWithinMs: number;
  readonly reason: {
    readonly approve: 'required' | 'optional' | 'none';
    readonly deny: 'required' | 'optional' | 'none';
  };
  readonly remindAfterMs: number | undefined;
  readonly escalate: ApprovalTerms['escalate'];
  readonly denialReasons: ApprovalTerms['denial_reasons'];
  /** Undefined: nobody may. */
  readonly edit: { readonly editorMayApprove: boolean } | undefined;
}

export function effectiveTerms(defaults: ApprovalTerms, own: ApprovalTerms): EffectiveTerms {
  return {
    approvers: own.approvers ?? defaults.approvers ?? [],
    quorum: own.quorum ?? defaults.quorum ?? APPROVAL_DEFAULTS.quorum,
    expiresInMs: own.expires_in ?? defaults.expires_in ?? APPROVAL_DEFAULTS.expiresInMs,
    startWithinMs: own.start_within ?? defaults.start_within ?? APPROVAL_DEFAULTS.startWithinMs,
    reason: {
      approve: own.reason?.approve ?? defaults.reason?.approve ?? APPROVAL_DEFAULTS.reason.approve,
      deny: own.reason?.deny ?? defaults.reason?.deny ?? APPROVAL_DEFAULTS.reason.deny,
    },
    remindAfterMs: own.remind_after ?? defaults.remind_after,
    escalate: own.escalate ?? defaults.escalate,
    denialReasons: own.denial_reasons ?? defaults.denial_reasons,
    edit: editTerms(own.edit ?? defaults.edit),
  };
}

function editTerms(edit: ApprovalTerms['edit']): EffectiveTerms['edit'] {
  if (edit === undefined || edit === false) return undefined;
  return { editorMayApprove: edit !== true && edit.editor_may_approve };
}

interface EntryScope {
  readonly tools: readonly string[];
  readonly tenants?: readonly string[] | undefined;
  readonly environments?: readonly string[] | undefined;
}

/** Whether an entry of `approvals.rules` or `auto_approve` is for this call. Exact names, so it is linear. */
export function covers(
  entry: EntryScope,
  call: { readonly tool: string; readonly tenant: string; readonly environment: string },
): boolean {
  return (
    listsTool(entry.tools, call.tool) &&
    (entry.tenants?.includes(call.tenant) ?? true) &&
    (entry.environments?.includes(call.environment) ?? true)
  );
}

export function listsTool(list: readonly string[], tool: string): boolean {
  return list.includes(EVERY_TOOL) || list.includes(tool);
}
