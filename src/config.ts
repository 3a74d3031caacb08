import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { inspect, parseEnv } from 'node:util';
import { z } from 'zod';
import type { CopyTarget } from './audit-files/checkpoint-copies.ts';
import {
  type ApprovalPrivateKey,
  type ApprovalPublicKey,
  approvalPrivateKeyOf,
  approvalPublicKeyOf,
} from './core/approval/decision.ts';
import { type AuditPrivateKey, auditPrivateKeyOf } from './core/audit/checkpoint.ts';
import { PROPOSAL_KEY_MIN_BYTES, type ProposalKeys, proposalKeysIn } from './core/proposal/seal.ts';
import type { BoxKeys } from './core/secrets/sealed-box.ts';
import { TOKEN_KEY_BYTES, tokenKeysOf } from './core/workspace/token-keys.ts';
import { CredentialsFromEnv, CredentialVariablesInvalid } from './queue/credentials-from-env.ts';
import {
  REDIS_ADDRESS_FORMS,
  REPLICAS_AT_MOST,
  RedisAddressInvalid,
  type RedisConnection,
  redisAddressOf,
} from './redis/redis-address.ts';

/**
 * The environment, read here and nowhere else. Each part (DESIGN 4) is told what it needs, and refuses to start with
 * what it must not hold.
 */
export type Part = 'start' | 'executor' | 'guard' | 'cli';
export type Environment = Readonly<Record<string, string | undefined>>;

/** Hands out what it holds only on demand: logging, printing, spreading or serialising it shows nothing. */
export class Secret<T = string> {
  readonly #value: T;

  constructor(value: T) {
    this.#value = value;
    Object.freeze(this);
  }

  reveal(): T {
    return this.#value;
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }

  [inspect.custom](): string {
    return '[secret]';
  }
}

export interface RedisConfig {
  /** For logs: without user and password. */
  readonly address: string;
  readonly connection: Secret<RedisConnection>;
  /** How many replicas of each master have to hold a write before it counts, where that was said. */
  readonly replicas: number | undefined;
}

export interface Listen {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
}

/** Lets people install the app in the workspaces of the policy. */
export interface SlackOAuthConfig {
  readonly clientId: string;
  readonly clientSecret: Secret;
  /** `https://your.host/slack/oauth_redirect`; undefined: the one that the app's settings name. */
  readonly redirectUri: string | undefined;
  readonly tokenKeys: Secret<BoxKeys>;
}

export type SlackModeConfig =
  | { readonly mode: 'socket'; readonly appToken: Secret }
  | { readonly mode: 'http'; readonly signingSecret: Secret; readonly listen: Listen };

interface CommonConfig {
  readonly redis: RedisConfig;
  readonly policyPath: string;
  readonly shards: number;
  readonly startDeadlineMs: number;
  readonly logLevel: z.output<typeof LogLevel>;
  /** Where /health and /ready are answered; of the approval service also /slack/install, and Slack's requests in HTTP mode. */
  readonly listen: Listen | undefined;
}

interface ToolConfig {
  /** An ES module that exports `tools`. */
  readonly toolsPath: string;
  readonly proposalKeys: Secret<ProposalKeys>;
}

export interface CredentialConfig {
  readonly directory: string | undefined;
  /** COUNTERSIGN_CRED_… by their whole names. */
  readonly variables: Secret<Readonly<Record<string, string>>>;
}

export interface AuditConfig {
  /** One directory a chain in it; this process, and its replicas on the same disk, alone write there. */
  readonly directory: string;
  readonly privateKey: AuditPrivateKey;
  /** The path of an address is often what lets one in. */
  readonly copy: Secret<CopyTarget> | undefined;
}

export interface StartConfig extends CommonConfig, ToolConfig {
  readonly slack: {
    readonly botTokens: readonly Secret[];
    /** `A…` */
    readonly appId: string | undefined;
    readonly oauth: SlackOAuthConfig | undefined;
    /** Ends in a slash. */
    readonly apiUrl: string;
    readonly transport: SlackModeConfig;
  };
  readonly approvalPrivateKey: ApprovalPrivateKey;
  /** Besides its own public half: of the key that signed before it, or that will sign next. */
  readonly approvalPublicKeys: readonly ApprovalPublicKey[];
  readonly audit: AuditConfig;
}

export interface ExecutorConfig extends CommonConfig, ToolConfig {
  readonly approvalPublicKeys: readonly ApprovalPublicKey[];
  readonly credentials: CredentialConfig;
}

export interface GuardConfig extends CommonConfig, ToolConfig {
  /** For reads, which run where the guard is. */
  readonly credentials: CredentialConfig;
  readonly readLogSample: number;
}

export type CliConfig = CommonConfig;

export interface ConfigOf {
  start: StartConfig;
  executor: ExecutorConfig;
  guard: GuardConfig;
  cli: CliConfig;
}

export type ConfigRead<P extends Part> =
  | { readonly ok: true; readonly config: ConfigOf[P] }
  | { readonly ok: false; readonly problems: readonly string[] };

const LogLevel = z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
  error: 'must be one of trace, debug, info, warn, error, fatal, silent',
});

const Path = z.string();

const wholeNumber = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,9}$/, { error: `must be a whole number from ${min} to ${max}`, abort: true })
    .transform(Number)
    .refine((number) => number >= min && number <= max, {
      error: `must be a whole number from ${min} to ${max}`,
    });

/** One schema for every variable. No message repeats a value: many are secrets, and any could be pasted wrongly. */
const Variables = z.object({
  REDIS_URL: z.string().transform((text, ctx) => {
    try {
      const { address, connection } = redisAddressOf(text);
      return { address, connection: new Secret(connection) };
    } catch (error) {
      if (!(error instanceof RedisAddressInvalid)) throw error;
      return refused(ctx, error.message);
    }
  }),
  COUNTERSIGN_REDIS_REPLICAS: wholeNumber(0, REPLICAS_AT_MOST),
  SLACK_BOT_TOKEN: z.string().transform((text, ctx) => {
    const tokens = text.split(',').map((token) => token.trim());
    if (!tokens.every((token) => /^xoxb-[\w.-]+$/.test(token))) {
      return refused(
        ctx,
        'must be a bot token, or several with commas between them, each beginning with xoxb-',
      );
    }
    if (new Set(tokens).size !== tokens.length) return refused(ctx, 'holds the same token twice');
    return tokens.map((token) => new Secret(token));
  }),
  SLACK_APP_TOKEN: z
    .string()
    .regex(/^xapp-[\w.-]+$/, 'must be an app-level token, beginning with xapp-')
    .transform((token) => new Secret(token)),
  SLACK_SIGNING_SECRET: z
    .string()
    .regex(/^[\x21-\x7e]{8,}$/, 'must be the signing secret: at least 8 characters, no spaces')
    .transform((text) => new Secret(text)),
  SLACK_MODE: z.enum(['socket', 'http'], { error: 'must be socket or http' }),
  SLACK_API_URL: z.string().transform((text, ctx) => {
    const url = apiUrlOf(text);
    return (
      url ??
      refused(
        ctx,
        'must be an https:// address (http:// for this machine alone), with no user, query or fragment',
      )
    );
  }),
  SLACK_APP_ID: z.string().regex(/^A[A-Z0-9]{1,20}$/, 'must be the id of the app, beginning with A'),
  SLACK_CLIENT_ID: z
    .string()
    .regex(/^[\w.-]{3,100}$/, 'must be the client id: digits with a dot between them'),
  SLACK_CLIENT_SECRET: z
    .string()
    .regex(/^[\x21-\x7e]{8,}$/, 'must be the client secret: at least 8 characters, no spaces')
    .transform((text) => new Secret(text)),
  COUNTERSIGN_TOKEN_KEY: z
    .string()
    .transform(
      (text, ctx) =>
        tokenKeysIn(text) ??
        refused(
          ctx,
          `must be ${TOKEN_KEY_BYTES} random bytes in base64; to change it, the new one, a comma, and the old one`,
        ),
    ),
  COUNTERSIGN_PUBLIC_URL: z.string().transform((text, ctx) => {
    const url = apiUrlOf(text);
    return url ?? refused(ctx, 'must be an https:// address (http:// for this machine alone)');
  }),
  PORT: wholeNumber(0, 65_535),
  HOST: z.string().regex(/^[A-Za-z0-9.:_-]{1,253}$/, 'must be a host name or an IP address'),
  COUNTERSIGN_POLICY: Path,
  COUNTERSIGN_TOOLS: Path,
  COUNTERSIGN_PROPOSAL_KEY: z
    .string()
    .transform(
      (text, ctx) =>
        attempt(() => new Secret(proposalKeysIn(text))) ??
        refused(
          ctx,
          `must be at least ${PROPOSAL_KEY_MIN_BYTES} random bytes in base64; to change it, the new one, a comma, and the old one`,
        ),
    ),
  COUNTERSIGN_APPROVAL_PRIVATE_KEY: z
    .string()
    .transform(
      (text, ctx) =>
        attempt(() => approvalPrivateKeyOf(withLineEnds(text))) ??
        refused(ctx, 'must be an Ed25519 private key, as PEM or as base64 of its DER (PKCS #8)'),
    ),
  COUNTERSIGN_APPROVAL_PUBLIC_KEY: z
    .string()
    .transform(
      (text, ctx) =>
        attempt(() => text.split(',').map((key) => approvalPublicKeyOf(withLineEnds(key.trim())))) ??
        refused(
          ctx,
          'must be an Ed25519 public key, as PEM or as base64 of its DER (SPKI), and not the private one; to change it, both with a comma between them',
        ),
    ),
  COUNTERSIGN_AUDIT_DIR: Path,
  COUNTERSIGN_AUDIT_PRIVATE_KEY: z
    .string()
    .transform(
      (text, ctx) =>
        attempt(() => auditPrivateKeyOf(withLineEnds(text))) ??
        refused(ctx, 'must be an Ed25519 private key, as PEM or as base64 of its DER (PKCS #8)'),
    ),
  COUNTERSIGN_AUDIT_COPY: z
    .string()
    .transform(
      (text, ctx) =>
        copyTargetOf(text) ??
        refused(
          ctx,
          'must be a directory, or an https:// address (http:// for this machine alone) with no user and no fragment',
        ),
    ),
  COUNTERSIGN_CREDENTIALS: Path,
  COUNTERSIGN_READ_LOG_SAMPLE: z
    .string()
    .regex(/^(0|1|0?\.\d{1,9}|1\.0+)$/, 'must be a number from 0 to 1, such as 0.1')
    .transform(Number),
  // A proposal's id names its shard in two hexadecimal digits.
  COUNTERSIGN_SHARDS: wholeNumber(1, 256),
  COUNTERSIGN_START_DEADLINE_MS: wholeNumber(5, 5_000),
  LOG_LEVEL: LogLevel,
});
type Variable = keyof typeof Variables.shape;

/** What to say where one is missing or wrong. Examples are shapes, never usable values. */
const HELP: Record<Variable, { example: string; from: string }> = {
  REDIS_URL: {
    example: REDIS_ADDRESS_FORMS,
    from: 'your Redis: one with maxmemory-policy noeviction and an append-only file',
  },
  COUNTERSIGN_REDIS_REPLICAS: {
    example: '1',
    from: 'how many replicas each master has; left out it is 1 with Sentinel and in a Cluster, 0 with one Redis; to be set where a master has more than one; the same everywhere',
  },
  SLACK_BOT_TOKEN: {
    example: 'xoxb-…',
    from: 'https://api.slack.com/apps → your app → OAuth & Permissions → Bot User OAuth Token, one for each workspace',
  },
  SLACK_APP_TOKEN: {
    example: 'xapp-1-…',
    from: 'https://api.slack.com/apps → your app → Basic Information → App-Level Tokens, with connections:write',
  },
  SLACK_SIGNING_SECRET: {
    example: '32 hexadecimal digits',
    from: 'https://api.slack.com/apps → your app → Basic Information → App Credentials → Signing Secret',
  },
  SLACK_MODE: { example: 'socket', from: 'socket needs no public address; http needs one' },
  SLACK_API_URL: { example: 'https://slack.com/api/', from: 'leave it out for Slack itself' },
  SLACK_APP_ID: {
    example: 'A0123ABCDEF',
    from: 'https://api.slack.com/apps → your app → Basic Information; leave it out for Slack itself, which tells it',
  },
  SLACK_CLIENT_ID: {
    example: '1234567890.1234567890',
    from: 'https://api.slack.com/apps → your app → Basic Information → App Credentials; for /slack/install',
  },
  SLACK_CLIENT_SECRET: {
    example: '32 hexadecimal digits',
    from: 'https://api.slack.com/apps → your app → Basic Information → App Credentials; for /slack/install',
  },
  COUNTERSIGN_TOKEN_KEY: {
    example: '44 characters of base64',
    from: 'type: npx countersign keys generate token (for the approval service alone; seals the tokens of installed workspaces in Redis)',
  },
  COUNTERSIGN_PUBLIC_URL: {
    example: 'https://your.host/',
    from: 'where browsers reach this service; its slack/oauth_redirect has to stand in the app under OAuth & Permissions',
  },
  PORT: { example: '3000', from: 'any free port' },
  HOST: { example: '127.0.0.1', from: '0.0.0.0 only where a proxy on another machine must reach it' },
  COUNTERSIGN_POLICY: { example: './policy.yaml', from: 'docs/policy.md' },
  COUNTERSIGN_TOOLS: { example: './tools.js', from: 'your own module: export const tools = [defineTool(…)]' },
  COUNTERSIGN_PROPOSAL_KEY: {
    example: '44 characters of base64',
    from: 'type: npx countersign keys generate (the same value in each guard, executor and approval service)',
  },
  COUNTERSIGN_APPROVAL_PRIVATE_KEY: {
    example: '-----BEGIN PRIVATE KEY-----…',
    from: 'type: npx countersign keys generate (for the approval service alone)',
  },
  COUNTERSIGN_APPROVAL_PUBLIC_KEY: {
    example: '-----BEGIN PUBLIC KEY-----…',
    from: 'the public half, from the same npx countersign keys generate as the private one',
  },
  COUNTERSIGN_AUDIT_DIR: {
    example: '/var/lib/countersign/audit',
    from: 'a directory on a disk that lasts, which only the approval service writes to; docs/audit.md',
  },
  COUNTERSIGN_AUDIT_PRIVATE_KEY: {
    example: '-----BEGIN PRIVATE KEY-----…',
    from: 'type: npx countersign keys generate (for the approval service alone; its public half is for the auditor)',
  },
  COUNTERSIGN_AUDIT_COPY: {
    example: '/mnt/elsewhere/countersign or https://your.host/checkpoints',
    from: 'somewhere that whoever can write COUNTERSIGN_AUDIT_DIR cannot write; docs/audit.md',
  },
  COUNTERSIGN_CREDENTIALS: {
    example: '/run/secrets/countersign',
    from: 'a directory with <tenant>/<environment>/<read or write>.json; or set COUNTERSIGN_CRED_<TENANT>__<ENVIRONMENT>__<READ or WRITE>__<NAME>',
  },
  COUNTERSIGN_READ_LOG_SAMPLE: {
    example: '0.1',
    from: 'leave it out to have every read in the log; failed ones always are',
  },
  COUNTERSIGN_SHARDS: { example: '1', from: '16 for a Redis Cluster; the same everywhere' },
  COUNTERSIGN_START_DEADLINE_MS: { example: '50', from: 'leave it out; the same everywhere' },
  LOG_LEVEL: { example: 'info', from: 'leave it out' },
};

const DEFAULTS: Partial<Record<Variable, string>> = {
  SLACK_MODE: 'socket',
  SLACK_API_URL: 'https://slack.com/api/',
  HOST: '127.0.0.1',
  COUNTERSIGN_POLICY: './policy.yaml',
  COUNTERSIGN_READ_LOG_SAMPLE: '1',
  COUNTERSIGN_SHARDS: '1',
  COUNTERSIGN_START_DEADLINE_MS: '50',
  LOG_LEVEL: 'info',
};
const DEFAULT_HTTP_PORT = '3000';

const COMMON = [
  'REDIS_URL',
  'COUNTERSIGN_REDIS_REPLICAS',
  'COUNTERSIGN_POLICY',
  'COUNTERSIGN_SHARDS',
  'COUNTERSIGN_START_DEADLINE_MS',
  'LOG_LEVEL',
  'PORT',
  'HOST',
] as const satisfies readonly Variable[];
const WITH_TOOLS = [...COMMON, 'COUNTERSIGN_TOOLS', 'COUNTERSIGN_PROPOSAL_KEY'] as const;
const SLACK = [
  'SLACK_BOT_TOKEN',
  'SLACK_APP_TOKEN',
  'SLACK_SIGNING_SECRET',
  'SLACK_MODE',
  'SLACK_API_URL',
  'SLACK_APP_ID',
] as const;
const OAUTH = ['SLACK_CLIENT_ID', 'SLACK_CLIENT_SECRET', 'COUNTERSIGN_TOKEN_KEY'] as const;

const AUDIT = [
  'COUNTERSIGN_AUDIT_DIR',
  'COUNTERSIGN_AUDIT_PRIVATE_KEY',
  'COUNTERSIGN_AUDIT_COPY',
] as const satisfies readonly Variable[];

const READ: Record<Part, readonly Variable[]> = {
  start: [
    ...WITH_TOOLS,
    ...SLACK,
    ...OAUTH,
    ...AUDIT,
    'COUNTERSIGN_PUBLIC_URL',
    'COUNTERSIGN_APPROVAL_PRIVATE_KEY',
    'COUNTERSIGN_APPROVAL_PUBLIC_KEY',
  ],
  executor: [...WITH_TOOLS, 'COUNTERSIGN_APPROVAL_PUBLIC_KEY', 'COUNTERSIGN_CREDENTIALS'],
  guard: [...WITH_TOOLS, 'COUNTERSIGN_CREDENTIALS', 'COUNTERSIGN_READ_LOG_SAMPLE'],
  cli: COMMON,
};

const CREDENTIAL_PREFIX = 'COUNTERSIGN_CRED_';
/** A name that ends in * stands for every name that begins so. */
const FORBIDDEN: Partial<Record<Part, { names: readonly string[]; why: string }>> = {
  start: {
    names: ['COUNTERSIGN_CREDENTIALS', `${CREDENTIAL_PREFIX}*`],
    why: 'the approval service must not hold credentials of tools, so that whoever breaks into it can write nothing',
  },
  executor: {
    names: [
      'COUNTERSIGN_APPROVAL_PRIVATE_KEY',
      'COUNTERSIGN_AUDIT_PRIVATE_KEY',
      'COUNTERSIGN_TOKEN_KEY',
      'SLACK_BOT_TOKEN',
      'SLACK_APP_TOKEN',
      'SLACK_SIGNING_SECRET',
      'SLACK_CLIENT_SECRET',
    ],
    why: 'the executor must not be able to make approvals or to sign the audit, so that whoever breaks into it can approve nothing',
  },
  guard: {
    names: [
      'COUNTERSIGN_APPROVAL_PRIVATE_KEY',
      'COUNTERSIGN_AUDIT_PRIVATE_KEY',
      'COUNTERSIGN_TOKEN_KEY',
      'SLACK_BOT_TOKEN',
      'SLACK_APP_TOKEN',
      'SLACK_SIGNING_SECRET',
      'SLACK_CLIENT_SECRET',
    ],
    why: 'the guard runs beside the agent, which must not be able to approve its own calls, or to sign the audit of them',
  },
};

/** Reads what `part` needs; every problem at once, none of them with a secret in it. An empty variable is a missing one. */
export function readConfig<P extends Part>(env: Environment, part: P): ConfigRead<P> {
  const given = givenIn(env);
  const credentials = Object.fromEntries([...given].filter(([name]) => name.startsWith(CREDENTIAL_PREFIX)));
  const problems = [...forbiddenIn(given, part), ...unknownIn(given)];
  if (READ[part].includes('COUNTERSIGN_CREDENTIALS'))
    problems.push(...credentialProblems(given, credentials));

  const texts: Record<string, string> = {};
  for (const name of READ[part]) {
    const text = given.get(name) ?? defaultOf(name, given, part);
    if (text !== undefined) texts[name] = text;
  }
  for (const name of requiredOf(part, given, Object.keys(credentials).length > 0)) {
    if (texts[name] === undefined) problems.push(`${name} is missing. ${helpFor(name)}`);
  }

  const read = Variables.partial().safeParse(texts);
  if (!read.success) {
    for (const issue of read.error.issues) {
      const name = issue.path[0] as Variable;
      problems.push(`${name} ${issue.message}. ${helpFor(name)}`);
    }
  }
  if (read.success) problems.push(...auditProblems(read.data));
  if (problems.length > 0 || !read.success) return { ok: false, problems };
  return { ok: true, config: BUILD[part](read.data, credentials) as ConfigOf[P] };
}

/** The environment of this process over the file beside it: what a process was started with wins. */
export function processEnvironment(dotEnvPath = '.env'): Environment {
  return loadDotEnv(dotEnvPath, process.env);
}

/**
 * No file: the environment alone.
 * @throws where the file is there but cannot be read.
 */
export function loadDotEnv(path: string, env: Environment): Environment {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return env;
    throw error;
  }
  // An empty variable is a missing one here too, so that it does not hide the file's.
  return { ...parseEnv(text), ...Object.fromEntries(givenIn(env)) };
}

type Read = z.output<ReturnType<typeof Variables.partial>>;

const BUILD: { [P in Part]: (read: Read, credentials: Record<string, string>) => ConfigOf[P] } = {
  start: (read) => ({
    ...commonOf(read),
    ...toolsOf(read),
    slack: {
      botTokens: read.SLACK_BOT_TOKEN ?? [],
      appId: read.SLACK_APP_ID,
      oauth:
        read.SLACK_CLIENT_ID === undefined
          ? undefined
          : {
              clientId: read.SLACK_CLIENT_ID,
              clientSecret: there(read.SLACK_CLIENT_SECRET),
              redirectUri:
                read.COUNTERSIGN_PUBLIC_URL && `${read.COUNTERSIGN_PUBLIC_URL}slack/oauth_redirect`,
              tokenKeys: there(read.COUNTERSIGN_TOKEN_KEY),
            },
      apiUrl: there(read.SLACK_API_URL),
      transport:
        there(read.SLACK_MODE) === 'http'
          ? {
              mode: 'http',
              signingSecret: there(read.SLACK_SIGNING_SECRET),
              listen: { host: there(read.HOST), port: there(read.PORT) },
            }
          : { mode: 'socket', appToken: there(read.SLACK_APP_TOKEN) },
    },
    approvalPrivateKey: there(read.COUNTERSIGN_APPROVAL_PRIVATE_KEY),
    approvalPublicKeys: read.COUNTERSIGN_APPROVAL_PUBLIC_KEY ?? [],
    audit: {
      directory: there(read.COUNTERSIGN_AUDIT_DIR),
      privateKey: there(read.COUNTERSIGN_AUDIT_PRIVATE_KEY),
      copy: read.COUNTERSIGN_AUDIT_COPY,
    },
  }),
  executor: (read, credentials) => ({
    ...commonOf(read),
    ...toolsOf(read),
    approvalPublicKeys: there(read.COUNTERSIGN_APPROVAL_PUBLIC_KEY),
    credentials: { directory: read.COUNTERSIGN_CREDENTIALS, variables: new Secret(credentials) },
  }),
  guard: (read, credentials) => ({
    ...commonOf(read),
    ...toolsOf(read),
    credentials: { directory: read.COUNTERSIGN_CREDENTIALS, variables: new Secret(credentials) },
    readLogSample: there(read.COUNTERSIGN_READ_LOG_SAMPLE),
  }),
  cli: (read) => commonOf(read),
};

function commonOf(read: Read): CommonConfig {
  return {
    redis: redisOf(read),
    policyPath: there(read.COUNTERSIGN_POLICY),
    shards: there(read.COUNTERSIGN_SHARDS),
    startDeadlineMs: there(read.COUNTERSIGN_START_DEADLINE_MS),
    logLevel: there(read.LOG_LEVEL),
    listen: read.PORT === undefined ? undefined : { host: there(read.HOST), port: read.PORT },
  };
}

function redisOf(read: Read): RedisConfig {
  return { ...there(read.REDIS_URL), replicas: read.COUNTERSIGN_REDIS_REPLICAS };
}

function toolsOf(read: Read): ToolConfig {
  return {
    toolsPath: there(read.COUNTERSIGN_TOOLS),
    proposalKeys: there(read.COUNTERSIGN_PROPOSAL_KEY),
  };
}

/** For what `requiredOf` and the defaults have seen to. */
function there<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('a required variable was not checked: see requiredOf');
  return value;
}

function requiredOf(
  part: Part,
  given: ReadonlyMap<string, string>,
  hasCredentials: boolean,
): readonly Variable[] {
  const tools = ['REDIS_URL', 'COUNTERSIGN_TOOLS', 'COUNTERSIGN_PROPOSAL_KEY'] as const;
  switch (part) {
    case 'start': {
      const installable = OAUTH.some((name) => given.has(name));
      return [
        ...tools,
        ...(installable ? OAUTH : (['SLACK_BOT_TOKEN'] as const)),
        given.get('SLACK_MODE') === 'http' ? 'SLACK_SIGNING_SECRET' : 'SLACK_APP_TOKEN',
        'COUNTERSIGN_APPROVAL_PRIVATE_KEY',
        'COUNTERSIGN_AUDIT_DIR',
        'COUNTERSIGN_AUDIT_PRIVATE_KEY',
      ];
    }
    case 'executor':
      return [
        ...tools,
        'COUNTERSIGN_APPROVAL_PUBLIC_KEY',
        ...(hasCredentials ? [] : (['COUNTERSIGN_CREDENTIALS'] as const)),
      ];
    case 'guard':
      return tools;
    case 'cli':
      return ['REDIS_URL'];
  }
}

function defaultOf(name: Variable, given: ReadonlyMap<string, string>, part: Part): string | undefined {
  // In both of these cases something has to reach it.
  const reached = given.get('SLACK_MODE') === 'http' || given.has('SLACK_CLIENT_ID');
  if (name === 'PORT' && part === 'start' && reached) return DEFAULT_HTTP_PORT;
  return DEFAULTS[name];
}

function givenIn(env: Environment): Map<string, string> {
  const given = new Map<string, string>();
  for (const [name, value] of Object.entries(env)) {
    const text = value?.trim();
    if (text) given.set(name, text);
  }
  return given;
}

function forbiddenIn(given: ReadonlyMap<string, string>, part: Part): string[] {
  const rule = FORBIDDEN[part];
  if (!rule) return [];
  return [...given.keys()]
    .filter((name) =>
      rule.names.some((entry) =>
        entry.endsWith('*') ? name.startsWith(entry.slice(0, -1)) : name === entry,
      ),
    )
    .map(
      (name) =>
        `${name} must not be set here: ${rule.why}. Remove it from this process's environment and .env.`,
    );
}

function credentialProblems(
  given: ReadonlyMap<string, string>,
  variables: Readonly<Record<string, string>>,
): string[] {
  const problems: string[] = [];
  if (given.has('COUNTERSIGN_CREDENTIALS') && Object.keys(variables).length > 0) {
    problems.push(
      `COUNTERSIGN_CREDENTIALS and ${CREDENTIAL_PREFIX}… are both set; which one wins could be mistaken. Keep one.`,
    );
  }
  try {
    new CredentialsFromEnv(variables);
  } catch (error) {
    if (!(error instanceof CredentialVariablesInvalid)) throw error;
    problems.push(`${error.message}.`);
  }
  return problems;
}

/** What would make the evidence worth less than it looks. */
function auditProblems(read: Read): string[] {
  const problems: string[] = [];
  const { COUNTERSIGN_AUDIT_PRIVATE_KEY: key, COUNTERSIGN_AUDIT_COPY: copy } = read;
  if (key !== undefined && read.COUNTERSIGN_APPROVAL_PRIVATE_KEY?.equals(key)) {
    problems.push(
      'COUNTERSIGN_AUDIT_PRIVATE_KEY is the approval key: whoever has one would have both. Make one of its own: npx countersign keys generate.',
    );
  }
  const directory = read.COUNTERSIGN_AUDIT_DIR;
  const target = copy?.reveal();
  if (target && 'directory' in target && directory && resolve(target.directory) === resolve(directory)) {
    problems.push('COUNTERSIGN_AUDIT_COPY is COUNTERSIGN_AUDIT_DIR itself. A copy has to be somewhere else.');
  }
  return problems;
}

/** A name that nobody reads is a typing mistake whose setting would be missed silently. */
function unknownIn(given: ReadonlyMap<string, string>): string[] {
  return [...given.keys()]
    .filter((name) => name.startsWith('COUNTERSIGN_') && !name.startsWith(CREDENTIAL_PREFIX))
    .filter((name) => !Object.hasOwn(Variables.shape, name))
    .map(
      (name) => `${name} is not a variable that Countersign knows. .env.example lists those that it does.`,
    );
}

function helpFor(name: Variable): string {
  const { example, from } = HELP[name];
  return `Example: ${example}. Where from: ${from}.`;
}

function refused(ctx: z.RefinementCtx, message: string): never {
  ctx.addIssue({ code: 'custom', message });
  return z.NEVER;
}

function attempt<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch {
    return undefined;
  }
}

/** A PEM in one line, as many secret stores and .env files hold it. */
function withLineEnds(text: string): string {
  return text.replaceAll('\\n', '\n');
}

function tokenKeysIn(text: string): Secret<BoxKeys> | undefined {
  const keys = text.split(',').map((key) => key.trim());
  if (!keys.every((key) => /^[A-Za-z0-9+/_-]+={0,2}$/.test(key))) return undefined;
  return attempt(
    () => new Secret(tokenKeysOf(keys.map((key) => new Uint8Array(Buffer.from(key, 'base64'))))),
  );
}

function copyTargetOf(text: string): Secret<CopyTarget> | undefined {
  if (!/^[a-z][a-z0-9+.-]*:/i.test(text)) return new Secret({ directory: text });
  const url = attempt(() => new URL(text));
  if (url === undefined) return undefined;
  if (url.username !== '' || url.password !== '' || url.hash !== '') return undefined;
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopback(url.hostname))) return undefined;
  return new Secret({ url });
}

function apiUrlOf(text: string): string | undefined {
  const url = attempt(() => new URL(text));
  if (!url) return undefined;
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') return undefined;
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopback(url.hostname))) return undefined;
  return url.href.endsWith('/') ? url.href : `${url.href}/`;
}

/** Bot tokens travel on this address in the clear. URL has made 127.1 and 0x7f000001 into 127.0.0.1 already. */
function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}
