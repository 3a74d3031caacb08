import { z } from 'zod';
import { AgentId, EnvironmentId, PrincipalId, RunId, TenantId } from './ids.ts';

/**
 * Who calls, for whom, and where: taken from the host's authenticated request and never from a model's output.
 * The guard refuses a call whose context does not parse.
 */
export const CallContext = z.strictObject({
  tenant: TenantId,
  environment: EnvironmentId,
  agent: AgentId,
  principal: PrincipalId,
  run: RunId,
});
export type CallContext = z.infer<typeof CallContext>;
/** The same as plain strings: what a host passes in. */
export type CallContextInput = z.input<typeof CallContext>;
