import { join, relative, resolve } from 'node:path';
import { helpDeskSeed } from '../sandbox/help-desk/help-desk-seed.ts';
import { DEMO_CONTEXT } from './demo-context.ts';
import { type DemoParts, startDemoParts } from './demo-parts.ts';
import { playStory } from './story.ts';
import { type AgentReport, runSupportAgent } from './support-agent.ts';
import { nameOf, printTally, type Tally, tallyOf } from './tally.ts';
import { agentWithoutGuard } from './without-guard.ts';

export interface DemoRun {
  readonly auto: boolean;
  readonly port: number;
  readonly print: (line: string) => void;
  /** Default `.countersign/demo` under the working directory. */
  readonly directory?: string;
}

const TALLY_EVERY_MS = 500;

/** @returns the process's exit code: 0 only if, in `auto`, each expected thing happened. */
export async function runDemo({
  auto,
  port,
  print,
  directory = resolve('.countersign', 'demo'),
}: DemoRun): Promise<number> {
  const startedAt = performance.now();
  let shown: unknown = pageTally(undefined, undefined);
  print('Countersign demo: a support agent, two approvers, one switch.');
  print('');
  const parts = await startDemoParts({ directory, port: auto ? 0 : port, tally: () => shown });
  const interrupted = new Promise<'interrupted'>((resolve) => {
    process.once('SIGINT', () => resolve('interrupted'));
    process.once('SIGTERM', () => resolve('interrupted'));
  });
  // What the same agent does with an admin token and nothing in front of its tools: run for real, on a help desk of its own.
  const unguarded = agentWithoutGuard(join(directory, 'without-guard'));
  unguarded.catch(() => 'said where it is awaited');
  const { truth } = helpDeskSeed();
  const tally = async (): Promise<Tally> =>
    tallyOf(await parts.helpDesk.journal(), await parts.audit.read({ tenant: 'acme', limit: 10_000 }), truth);
  const watch = setInterval(() => {
    void Promise.all([tally(), unguarded])
      .then(([now, without]) => {
        shown = pageTally(now, without.closedWrongly);
      })
      .catch(() => 'the next look shows it');
  }, TALLY_EVERY_MS);
  try {
    printParts(parts, print, performance.now() - startedAt);
    const agent = () => guardedAgent(parts);
    if (auto) {
      const ok = await Promise.race([playStory({ parts, agent, tally, unguarded, print }), interrupted]);
      return ok === true ? 0 : 1;
    }
    await arm(parts);
    printInvitation(parts, print);
    const ended = await Promise.race([agent(), interrupted]);
    if (ended !== 'interrupted') {
      printTally(await tally(), (await unguarded).closedWrongly, print);
      print('');
      print('The audit is sealed in files. An outsider verifies them with the public key alone:');
      print(
        `  npx countersign audit verify ${relative('', parts.auditDirectory)} --key ${parts.keys.COUNTERSIGN_AUDIT_PUBLIC_KEY}`,
      );
      print('');
      print('The agent is done. The page stays up; Ctrl-C ends the demo.');
      await interrupted;
    }
    print('');
    print('Stopping.');
    return 0;
  } finally {
    clearInterval(watch);
    await parts.stop();
  }
}

function guardedAgent(parts: DemoParts): Promise<AgentReport> {
  return runSupportAgent({
    call: (tool, args, reason) =>
      parts.guard.call({ tool, args, ...(reason === undefined ? {} : { reason }) }, DEMO_CONTEXT),
  });
}

async function arm(parts: DemoParts): Promise<void> {
  const { epoch } = await parts.writeSwitch.status();
  await parts.writeSwitch.on({ scope: {}, by: 'cli:demo', why: 'the demo begins', expectedEpoch: epoch });
}

function printParts(parts: DemoParts, print: (line: string) => void, tookMs: number): void {
  const place = relative('', parts.directory);
  print(`  Redis             a real redis-server on a private socket, append-only, in ${place}/redis`);
  print(`  help desk         ${parts.helpDesk.url}, a token for each tenant, environment and access`);
  print(`  approval service  countersign start      (log: ${place}/approvals.log)`);
  print(`  executor          countersign executor   (log: ${place}/executor.log)`);
  print(`  audit             sealed in ${place}/audit`);
  print(`  local Slack       ${parts.slack.url}`);
  print(`  up in ${(tookMs / 1000).toFixed(1)} s`);
  print('');
}

function printInvitation(parts: DemoParts, print: (line: string) => void): void {
  print(`Open  ${parts.slack.url}/?team=T0ACME&user=U0ANA&channel=C0ACMEAPP`);
  print('');
  print('The support agent was told to be "more decisive" and asks to close all 44 open tickets of Acme.');
  print('Three of them are real duplicates. In #acme-approvals, as whoever you choose to be:');
  print('  • as Ana or Ben, approve the duplicates: ACME-1016, ACME-1026 and one about two-factor codes');
  print(
    '  • the first five have cards of their own; the rest is gathered on one card, with a list to pick from',
  );
  print('  • deny some of the others and say why; try it as Rita, for whom the agent works, or as a guest');
  print('  • as Chen, who is on call, type  /agent-writes off it closes everything');
  print('');
  print('This terminal says what came of it once every call is settled.');
}

/** As the page's panel takes it. */
function pageTally(tally: Tally | undefined, closedWronglyWithout: number | undefined): unknown {
  if (tally === undefined) return { title: 'What came of it', lines: [] };
  const line = (label: string, value: string | number, tone?: 'good' | 'bad' | 'warn') =>
    tone === undefined ? { label, value } : { label, value, tone };
  return {
    title: 'What came of it',
    lines: [
      line('waiting for people', tally.waiting),
      ...tally.closed.map(({ ticket, duplicateOf, approvedBy }) =>
        line(
          `${ticket} closed`,
          `${duplicateOf === undefined ? 'not a duplicate' : 'a duplicate'}; ${approvedBy.map(nameOf).join(', ')}`,
          duplicateOf === undefined ? 'bad' : 'good',
        ),
      ),
      line('denied', tally.denied),
      line('halted by the switch', tally.halted),
      line('refused by the guard', tally.forbidden),
      line('closed wrongly', tally.closedWrongly, tally.closedWrongly === 0 ? 'good' : 'bad'),
      line('without the guard', closedWronglyWithout ?? '…', 'warn'),
    ],
  };
}
