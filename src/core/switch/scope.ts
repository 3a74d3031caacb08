import { z } from 'zod';
import type { CallContext } from '../identity/call-context.ts';
import { AgentId, EnvironmentId, TenantId } from '../identity/ids.ts';
import { ToolName } from '../tool/tool-name.ts';

/** Which writes the switch stops: those that match every part named here. No part named: everything. */
export const SwitchScope = z.strictObject({
  tenant: TenantId.optional(),
  environment: EnvironmentId.optional(),
  tool: ToolName.optional(),
  agent: AgentId.optional(),
});
export type SwitchScope = z.infer<typeof SwitchScope>;

export const EVERYTHING: SwitchScope = {};

const PARTS = ['tenant', 'environment', 'tool', 'agent'] as const;

/** Injective: no id contains `=` or `&`. Everything is `*`. */
export function scopeKey(scope: SwitchScope): string {
  const parts = PARTS.flatMap((part) => (scope[part] === undefined ? [] : [`${part}=${scope[part]}`]));
  return parts.length === 0 ? '*' : parts.join('&');
}

/** @throws ZodError where the text is not a key that `scopeKey` makes. */
export function scopeOfKey(key: string): SwitchScope {
  if (key === '*') return EVERYTHING;
  return SwitchScope.parse(Object.fromEntries(key.split('&').map((part) => part.split('=', 2))));
}

/**
 * The keys of all scopes that cover a call: the 16 subsets of its four parts. A script looks up just these, so its cost
 * does not grow with the number of scopes that are off.
 */
export function scopeKeysCovering(context: CallContext, tool: string): string[] {
  const call = { tenant: context.tenant, environment: context.environment, tool, agent: context.agent };
  return Array.from({ length: 1 << PARTS.length }, (_, bits) => {
    const parts = PARTS.flatMap((part, i) => ((bits >> i) & 1 ? [`${part}=${call[part]}`] : []));
    return parts.length === 0 ? '*' : parts.join('&');
  });
}

/** For people: "everything", or "tenant acme, tool ticket.close". */
export function describeScope(scope: SwitchScope): string {
  const parts = PARTS.flatMap((part) => (scope[part] === undefined ? [] : [`${part} ${scope[part]}`]));
  return parts.length === 0 ? 'everything' : parts.join(', ');
}
