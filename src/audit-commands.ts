import { closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs';
import { type Command, InvalidArgumentError } from 'commander';
import { momentOf } from './audit-files/export-period.ts';
import { populationOf } from './audit-files/export-population.ts';
import { csvRows, jsonRows } from './audit-files/export-rows.ts';
import { newestEntries, type Unread } from './audit-files/read-entries.ts';
import { NotReadable } from './audit-files/read-lines.ts';
import { verifyAudit } from './audit-files/verify.ts';
import type { AuditKeys } from './audit-files/verify-checkpoints.ts';
import { EXIT_USAGE } from './audit-files/verify-finding.ts';
import { verifyLines } from './audit-files/verify-report.ts';
import { auditLines } from './audit-lines.ts';
import type { AuditLog } from './core/audit/audit-log.ts';
import {
  AuditKeyInvalid,
  type AuditPublicKey,
  auditKeyId,
  auditPublicKeyOf,
} from './core/audit/checkpoint.ts';
import { brief, jsonLine } from './core/tool/visible-text.ts';

/** What was typed cannot be done as typed: nothing was verified, shown or exported. */
class AuditUsage extends Error {
  override readonly name = 'AuditUsage';
  readonly code = 'audit_usage';
}

export interface AuditSurroundings {
  /** The stream in Redis, which is read where no directory is named. */
  readonly withLog: (use: (log: AuditLog) => Promise<void>) => Promise<void>;
  /** COUNTERSIGN_AUDIT_DIR. */
  readonly directory: () => string | undefined;
}

/** `audit verify` and `audit export` need files alone: they run on an auditor's machine. */
export function addAuditCommands(program: Command, surroundings: AuditSurroundings): void {
  // Whoever reads may have read enough: `| head`.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit();
  });
  const audit = program.command('audit').description('what happened, and whether anybody changed it');
  addShow(audit, surroundings);
  addVerify(audit);
  addExport(audit, surroundings);
}

function addShow(audit: Command, { withLog }: AuditSurroundings): void {
  audit
    .command('show')
    .description('audit entries, oldest first, one a line')
    .option(
      '--dir <dir>',
      'from sealed files, which reach further back than Redis; they are not verified here',
    )
    .option('--tenant <tenant>', 'of one tenant')
    .option('--proposal <id>', 'of one proposal')
    .option('--limit <n>', 'the newest n', positiveInteger, 200)
    .option('--json', 'one JSON object a line')
    .action((options: { dir?: string; tenant?: string; proposal?: string; limit: number; json?: boolean }) =>
      sayingWhatIsWrong(async () => {
        const { dir, tenant, proposal, limit, json = false } = options;
        const print = (entries: Parameters<typeof auditLines>[0]) =>
          out(entries.length === 0 ? ['No entries.'] : auditLines(entries, { json }));
        if (dir !== undefined) {
          const unread: Unread[] = [];
          print(newestEntries(dir, { tenant, proposal, limit }, (line) => unread.push(line)));
          warnUnread(unread);
          return;
        }
        await withLog(async (log) => {
          const filter = {
            ...(tenant === undefined ? {} : { tenant }),
            ...(proposal === undefined ? {} : { proposal }),
          };
          print(await log.read({ ...filter, limit, newest: true }));
        });
      }),
    );
}

function addVerify(audit: Command): void {
  audit
    .command('verify')
    .description(
      'whether sealed files are what was sealed; offline: the files and the public key are all it needs',
    )
    .argument('<dir>', "the audit's directory, or one chain's")
    .option('--key <key>', 'the public audit key, or its file; again for one that was replaced', gather)
    .option(
      '--checkpoint <file>',
      'checkpoints that were kept elsewhere, or their directory; may be repeated',
      gather,
    )
    .option('--chain <name>', 'how the chain is called, where its directory was copied under another name')
    .option('--json', 'one JSON object')
    .addHelpText('after', VERIFY_HELP)
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : EXIT_USAGE))
    .action((directory: string, options: VerifyWords) =>
      sayingWhatIsWrong(async () => {
        const { key = [], checkpoint = [], chain, json = false } = options;
        const report = verifyAudit(directory, {
          keys: keysFrom(key),
          checkpoints: checkpoint,
          ...(chain === undefined ? {} : { chain }),
        });
        out(json ? [jsonLine(report)] : verifyLines(report, { compared: checkpoint.length > 0 }));
        process.exitCode = report.exitCode;
      }),
    );
}

interface VerifyWords {
  readonly key?: readonly string[];
  readonly checkpoint?: readonly string[];
  readonly chain?: string;
  readonly json?: boolean;
}

const VERIFY_HELP = `
Exit codes: 0 intact, 2 wrong usage, 10 altered, 11 missing, 12 reordered, 13 truncated, 14 forked,
15 rolled back, 16 unverifiable. With several chains, the worst of them. docs/audit.md tells what each means.`;

interface ExportOptions {
  readonly from: string;
  readonly to: string;
  readonly format: string;
  readonly dir?: string;
  readonly tenant?: string;
  readonly key?: readonly string[];
  readonly unverified?: boolean;
  readonly out?: string;
}

function addExport(audit: Command, surroundings: AuditSurroundings): void {
  audit
    .command('export')
    .description("an auditor's population: one row for each proposal that was asked for in a period")
    .requiredOption('--from <time>', 'from this day or time on (UTC): 2026-01-01 or 2026-01-01T08:00:00Z')
    .requiredOption('--to <time>', 'up to this day or time, which is no longer in it')
    .option('--format <format>', 'csv or jsonl', 'csv')
    .option('--dir <dir>', "the audit's directory (COUNTERSIGN_AUDIT_DIR)")
    .option('--tenant <tenant>', 'of one tenant')
    .option('--key <key>', 'verify first, with this public audit key or file; may be repeated', gather)
    .option('--unverified', 'export also what does not verify; each row then says so')
    .option('--out <file>', 'into a new file')
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : EXIT_USAGE))
    .action((options: ExportOptions) => sayingWhatIsWrong(async () => exportPeriod(options, surroundings)));
}

function exportPeriod(options: ExportOptions, surroundings: AuditSurroundings): void {
  const [from, to] = [moment('--from', options.from), moment('--to', options.to)];
  if (from >= to)
    throw new AuditUsage('--to has to be later than --from; it is no longer in the period itself');
  if (options.format !== 'csv' && options.format !== 'jsonl') {
    throw new AuditUsage(`--format is csv or jsonl, not ${brief(options.format)}`);
  }
  const directory = options.dir ?? surroundings.directory();
  if (directory === undefined)
    throw new AuditUsage('Say where the audit is: --dir DIR, or COUNTERSIGN_AUDIT_DIR.');
  if (options.out !== undefined && existsSync(options.out)) {
    throw new AuditUsage(`${options.out} is there already; an export never replaces a file`);
  }
  const verified = verifiedBefore(directory, options);
  if (verified === undefined) return;
  const population = populationOf(directory, { from, to, tenant: options.tenant });
  const rows = options.format === 'csv' ? csvRows : jsonRows;
  write(rows(population.proposals, verified), options.out);
  warnUnread(population.unread);
  const { withoutRequest, proposals } = population;
  if (withoutRequest > 0) {
    note(
      `${withoutRequest} more proposals changed state in this period, and the audit does not hold their beginning.`,
    );
  }
  note(
    `${proposals.length} ${proposals.length === 1 ? 'proposal' : 'proposals'}, asked for from ${isoTime(from)} until before ${isoTime(to)}.`,
  );
}

/** Undefined: it was refused. */
function verifiedBefore(
  directory: string,
  { key = [], unverified = false }: ExportOptions,
): boolean | undefined {
  if (key.length === 0) {
    note('Not verified, and each row says so: give the public audit key (--key) to verify first.');
    return false;
  }
  const report = verifyAudit(directory, { keys: keysFrom(key) });
  if (report.verdict === 'intact') return true;
  for (const line of verifyLines(report, { compared: false })) note(line);
  if (unverified) {
    note('Exported all the same, and each row says so.');
    return false;
  }
  note('Nothing was exported. To export it all the same, with every row saying so: --unverified');
  process.exitCode = report.exitCode;
  return undefined;
}

function keysFrom(given: readonly string[]): AuditKeys {
  return new Map(given.map(keyFrom).map((key) => [auditKeyId(key), key]));
}

function keyFrom(given: string): AuditPublicKey {
  let material = given;
  try {
    material = readFileSync(given, 'utf8').trim();
  } catch {
    // Then it is the key itself, or nothing.
  }
  try {
    return auditPublicKeyOf(material);
  } catch (cause) {
    if (!(cause instanceof AuditKeyInvalid)) throw cause;
    const what = material === given ? 'is neither a file nor a key' : 'does not hold a key';
    throw new AuditUsage(
      `--key ${brief(given)} ${what}: ${cause.message}. It takes the public half: PEM, or base64 of its DER (SPKI).`,
      { cause },
    );
  }
}

function moment(option: string, text: string): number {
  const at = momentOf(text);
  if (at !== undefined) return at;
  throw new AuditUsage(
    `${option} ${brief(text)} is no day and no time: write 2026-01-01 or 2026-01-01T08:00:00Z`,
  );
}

function write(rows: Iterable<string>, file: string | undefined): void {
  if (file === undefined) {
    for (const row of rows) process.stdout.write(row);
    return;
  }
  const fd = openSync(file, 'wx', 0o600);
  try {
    for (const row of rows) writeSync(fd, row);
  } finally {
    closeSync(fd);
  }
}

async function sayingWhatIsWrong(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof AuditUsage || error instanceof NotReadable)) throw error;
    note(error instanceof NotReadable ? `${error.path}: ${error.message}` : error.message);
    process.exitCode = EXIT_USAGE;
  }
}

function warnUnread(unread: readonly Unread[]): void {
  const [first] = unread;
  if (first === undefined) return;
  const lines = unread.length === 1 ? 'One line' : `${unread.length} lines`;
  note(`${lines} could not be read: ${first.file}, line ${first.line}. See: countersign audit verify`);
}

function out(lines: readonly string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`);
}

function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

function gather(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

function positiveInteger(text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 1)
    throw new InvalidArgumentError('give a whole number above 0');
  return number;
}

function isoTime(at: number): string {
  return new Date(at).toISOString();
}
