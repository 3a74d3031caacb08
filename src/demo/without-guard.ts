import { Credentials } from '../core/execution/credentials.ts';
import { CallContext } from '../core/identity/call-context.ts';
import { startHelpDesk } from '../sandbox/help-desk/help-desk.ts';
import { helpDeskSeed } from '../sandbox/help-desk/help-desk-seed.ts';
import { supportTools } from '../sandbox/help-desk/support-tools.ts';
import { runSupportAgent } from './support-agent.ts';
import { tallyOf } from './tally.ts';

/**
 * The incident itself: the same agent and tools with nothing in front of them and a token that writes, on a help desk
 * of its own. So the number that the demo compares with is counted and not claimed.
 */
export async function agentWithoutGuard(directory: string): Promise<{ closedWrongly: number }> {
  const scope = { tenant: 'acme', environment: 'production' };
  const helpDesk = await startHelpDesk({ directory, scopes: [scope] });
  try {
    const tools = new Map(supportTools(helpDesk.url).map((tool) => [tool.name as string, tool]));
    const context = CallContext.parse({
      ...scope,
      agent: 'support-bot',
      principal: 'slack:T0ACME/U0RITA',
      run: 'without-guard',
    });
    let calls = 0;
    await runSupportAgent({
      call: async (name, args) => {
        const tool = tools.get(name);
        if (tool === undefined) throw new Error(`no tool ${name}`);
        const access = tool.effect;
        const credentials = new Credentials({
          token: helpDesk.token(scope.tenant, scope.environment, access),
        });
        calls += 1;
        return tool.execute(args as Parameters<typeof tool.execute>[0], {
          context,
          credentials,
          signal: AbortSignal.timeout(tool.timeout),
          idempotencyKey: `without-guard-${calls}`,
        });
      },
    });
    return { closedWrongly: tallyOf(await helpDesk.journal(), [], helpDeskSeed().truth).closedWrongly };
  } finally {
    await helpDesk.stop();
  }
}
