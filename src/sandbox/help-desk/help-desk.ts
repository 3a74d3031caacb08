import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { spawnProgram } from '../node-program.ts';
import { JournalEntry, type TokenScope } from './help-desk-store.ts';

/** The demo's help desk, a process of its own, which ends with ours. */
export interface HelpDesk {
  /** `http://127.0.0.1:…`, no slash at its end. */
  readonly url: string;
  readonly pid: number;
  /** For what is not listed there is none: a scope has exactly the tokens that it was started with. */
  token(tenant: string, environment: string, access: 'read' | 'write'): string;
  /** Writes `<directory>/<tenant>/<environment>/<access>.json`, as an executor reads them. */
  writeCredentials(directory: string, access?: 'read' | 'write'): void;
  /** Every write that happened, oldest first. */
  journal(): Promise<JournalEntry[]>;
  stop(): Promise<void>;
}

export interface HelpDeskOptions {
  /** Its tickets live here, and are seeded where there are none yet. */
  readonly directory: string;
  readonly scopes: readonly { readonly tenant: string; readonly environment: string }[];
  /** 0, the default, takes a free one. */
  readonly port?: number;
}

export class HelpDeskFailed extends Error {
  override readonly name = 'HelpDeskFailed';
  readonly code = 'help_desk_failed';
}

export async function startHelpDesk(options: HelpDeskOptions): Promise<HelpDesk> {
  const tokens = options.scopes.flatMap((scope) =>
    (['read', 'write'] as const).map((access) => ({ token: newToken(), scope: { ...scope, access } })),
  );
  const journalToken = newToken();
  const child = spawnProcess();
  const orders = { directory: options.directory, port: options.port ?? 0, tokens, journalToken };
  child.stdin?.on('error', () => {});
  child.stdin?.write(`${JSON.stringify(orders)}\n`);
  const url = `http://127.0.0.1:${await portOf(child)}`;

  const token = (tenant: string, environment: string, access: TokenScope['access']): string => {
    const found = tokens.find(
      ({ scope }) => scope.tenant === tenant && scope.environment === environment && scope.access === access,
    );
    if (!found) throw new HelpDeskFailed(`the help desk has no ${access} token for ${tenant} ${environment}`);
    return found.token;
  };
  return {
    url,
    pid: child.pid ?? 0,
    token,
    writeCredentials(directory, access) {
      for (const { token, scope } of tokens) {
        if (access !== undefined && scope.access !== access) continue;
        const place = join(directory, scope.tenant, scope.environment);
        mkdirSync(place, { recursive: true, mode: 0o700 });
        writeFileSync(join(place, `${scope.access}.json`), JSON.stringify({ token }), { mode: 0o600 });
      }
    },
    async journal() {
      const response = await fetch(`${url}/journal`, {
        headers: { Authorization: `Bearer ${journalToken}` },
      });
      return z.array(JournalEntry).parse(await response.json());
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      child.stdin?.end();
      await exited;
    },
  };
}

const newToken = () => `hd_${randomBytes(24).toString('base64url')}`;

/** Detached: a Ctrl-C in the terminal is for us, who then close its stdin. No environment: our tokens are not for it. */
function spawnProcess(): ChildProcess {
  return spawnProgram('sandbox/help-desk/help-desk-process', [], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {},
    detached: true,
  });
}

async function portOf(child: ChildProcess): Promise<number> {
  if (!child.stdout) throw new HelpDeskFailed('the help desk has no output');
  const lines = createInterface({ input: child.stdout });
  const line = await Promise.race([
    once(lines, 'line').then(([text]) => String(text)),
    once(child, 'exit').then(() => undefined),
    once(child, 'error').then(() => undefined),
  ]);
  if (line === undefined)
    throw new HelpDeskFailed('the help desk ended before it could listen; see above why');
  return z.strictObject({ port: z.int() }).parse(JSON.parse(line)).port;
}
