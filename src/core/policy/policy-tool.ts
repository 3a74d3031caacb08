/** What the policy needs to know of a tool. Only the registered definition says it, never a protocol's annotation. */
export interface PolicyTool {
  readonly name: string;
  /** Anything but `read` counts as a write. */
  readonly effect?: 'read' | 'write' | undefined;
  readonly irreversible: boolean;
}
