import type { CallContextInput } from '../core/identity/call-context.ts';

/** Rita works in support; the agent acts for her, so she decides nothing about it. */
export const DEMO_CONTEXT: CallContextInput = {
  tenant: 'acme',
  environment: 'production',
  agent: 'support-bot',
  principal: 'slack:T0ACME/U0RITA',
  run: 'clean-up-of-duplicates',
};
