import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import {
  type CredentialProvider,
  type CredentialScope,
  Credentials,
  CredentialsUnavailable,
} from '../core/execution/credentials.ts';
import { EnvironmentId, TenantId } from '../core/identity/ids.ts';
import { type JsonLimits, parseStrictJson } from '../core/tool/strict-json.ts';
import { ToolName } from '../core/tool/tool-name.ts';

const FILE_LIMITS: JsonLimits = {
  bytes: 64 * 1024,
  depth: 2,
  keys: 100,
  keyLength: 100,
  stringLength: 32 * 1024,
};

const Content = z.record(z.string().min(1), z.string().min(1));

/** Anybody's read, write and search bits, and the group's write bit. */
const TOO_OPEN = 0o027;

/**
 * One JSON file a scope, `{ "token": "…" }`: `<directory>/<tenant>/<environment>/<tool>.<access>.json` where there is
 * one, else `<access>.json` beside it. Read anew for each call, so that a rotated secret needs no restart.
 */
export class CredentialsFromFiles implements CredentialProvider {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async fetch(scope: CredentialScope, signal: AbortSignal): Promise<Credentials> {
    const { tenant, environment, tool, access } = checked(scope);
    const place = join(this.#directory, tenant, environment);
    const general = join(place, `${access}.json`);
    // A file for the tool that is broken is never passed over for the more general one.
    const content =
      (await contentOf(join(place, `${tool}.${access}.json`), signal)) ?? (await contentOf(general, signal));
    if (content) return new Credentials(content);
    throw new CredentialsUnavailable(
      `there are no ${access} credentials for ${tenant} in ${environment}: write them into ${general}, mode 600`,
    );
  }
}

/** The ids become a path: whoever hands over unparsed ones must not reach another tenant's directory with them. */
function checked({ tenant, environment, tool, access }: CredentialScope): CredentialScope {
  const scope = z
    .strictObject({
      tenant: TenantId,
      environment: EnvironmentId,
      tool: ToolName,
      access: z.enum(['read', 'write']),
    })
    .safeParse({ tenant, environment, tool, access });
  if (scope.success) return scope.data;
  throw new CredentialsUnavailable('credentials were asked for without a whole scope, so there are none', {
    cause: scope.error,
  });
}

/** Undefined where there is no such file. */
async function contentOf(path: string, signal: AbortSignal): Promise<Record<string, string> | undefined> {
  signal.throwIfAborted();
  const text = await textOf(path, signal);
  if (text === undefined) return undefined;
  const json = parseStrictJson(text, FILE_LIMITS);
  const content = Content.safeParse(json.ok ? json.value : undefined);
  // Neither the parser's nor the schema's words: they may quote a secret.
  if (!content.success) {
    throw new CredentialsUnavailable(
      `${path} is not usable: it must be one JSON object of names and non-empty texts, {"token": "…"}`,
    );
  }
  return content.data;
}

async function textOf(path: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    const file = await open(path, 'r');
    try {
      // Of the file that is open, not of whatever has its name by now.
      const { mode, size } = await file.stat();
      if ((mode & TOO_OPEN) !== 0) throw tooOpen(path, mode);
      if (size > FILE_LIMITS.bytes) {
        throw new CredentialsUnavailable(`${path} is larger than ${FILE_LIMITS.bytes / 1024} KiB`);
      }
      return await file.readFile({ encoding: 'utf8', signal });
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof CredentialsUnavailable || signal.aborted) throw error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    if (code === 'ENOENT') return undefined;
    throw new CredentialsUnavailable(`${path} cannot be read (${code})`, { cause: error });
  }
}

function tooOpen(path: string, mode: number): CredentialsUnavailable {
  const shown = (mode & 0o777).toString(8);
  return new CredentialsUnavailable(
    `${path} is open to other users (mode ${shown}): type chmod 600 ${path}, and replace what it holds`,
  );
}
