import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect, parseEnv } from 'node:util';
import { Redis } from 'ioredis';
import { afterAll, describe, expect, it } from 'vitest';
import { type Environment, loadDotEnv, type Part, readConfig, Secret } from '../src/config.ts';

const ed25519 = generateKeyPairSync('ed25519');
const auditPair = generateKeyPairSync('ed25519');
const auditPem = auditPair.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string;
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const privatePem = ed25519.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string;
const publicPem = ed25519.publicKey.export({ format: 'pem', type: 'spki' }) as string;
const privateDer = ed25519.privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64');
const publicDer = ed25519.publicKey.export({ format: 'der', type: 'spki' }).toString('base64');
const proposalKey = Buffer.alloc(32, 7).toString('base64');

const COMMON = {
  REDIS_URL: 'redis://127.0.0.1:6390/2',
  COUNTERSIGN_TOOLS: './tools.js',
  COUNTERSIGN_PROPOSAL_KEY: proposalKey,
};
const COMPLETE: Record<Part, Environment> = {
  start: {
    ...COMMON,
    SLACK_BOT_TOKEN: 'xoxb-1-abc',
    SLACK_APP_TOKEN: 'xapp-1-abc',
    COUNTERSIGN_APPROVAL_PRIVATE_KEY: privatePem,
    COUNTERSIGN_AUDIT_DIR: './audit',
    COUNTERSIGN_AUDIT_PRIVATE_KEY: auditPem,
  },
  executor: {
    ...COMMON,
    COUNTERSIGN_APPROVAL_PUBLIC_KEY: publicPem,
    COUNTERSIGN_CREDENTIALS: '/run/secrets',
  },
  guard: COMMON,
  cli: { REDIS_URL: COMMON.REDIS_URL },
};

function configOf<P extends Part>(part: P, change: Environment = {}) {
  const read = readConfig({ ...COMPLETE[part], ...change }, part);
  if (!read.ok) throw new Error(read.problems.join('\n'));
  return read.config;
}

function problemsOf(part: Part, change: Environment = {}): readonly string[] {
  const read = readConfig({ ...COMPLETE[part], ...change }, part);
  if (read.ok) throw new Error('expected problems');
  return read.problems;
}

describe('the configuration', () => {
  it('needs little: everything else has a safe default', () => {
    expect(configOf('start')).toMatchObject({
      policyPath: './policy.yaml',
      shards: 1,
      startDeadlineMs: 50,
      logLevel: 'info',
      listen: undefined,
      slack: { apiUrl: 'https://slack.com/api/', transport: { mode: 'socket' } },
    });
  });

  it.each(['start', 'executor', 'guard', 'cli'] as const)(
    'of %s names everything that is missing at once',
    (part) => {
      const missing = Object.keys(COMPLETE[part]);
      const read = readConfig({}, part);
      if (read.ok) throw new Error('expected problems');
      expect(read.problems.map((problem) => problem.split(' ')[0]).sort()).toEqual(missing.sort());
      for (const problem of read.problems)
        expect(problem).toMatch(/ is missing\. Example: .+ Where from: .+\./);
    },
  );

  it('takes an empty variable, or one of spaces, for a missing one', () => {
    expect(problemsOf('start', { SLACK_BOT_TOKEN: '', REDIS_URL: '  ' })).toEqual([
      expect.stringContaining('REDIS_URL is missing'),
      expect.stringContaining('SLACK_BOT_TOKEN is missing'),
    ]);
  });

  it('names what is missing and what is wrong in one run', () => {
    const problems = problemsOf('start', {
      REDIS_URL: 'localhost:6379',
      SLACK_BOT_TOKEN: undefined,
      SLACK_APP_TOKEN: 'xoxb-the-wrong-one',
      COUNTERSIGN_SHARDS: 'many',
      PORT: '70000',
      LOG_LEVEL: 'loud',
    });
    expect(problems.map((problem) => problem.split(' ')[0]).sort()).toEqual([
      'COUNTERSIGN_SHARDS',
      'LOG_LEVEL',
      'PORT',
      'REDIS_URL',
      'SLACK_APP_TOKEN',
      'SLACK_BOT_TOKEN',
    ]);
  });

  it('never repeats a value in a problem', () => {
    const secret = 'hunter2-hunter2-hunter2';
    for (const part of ['start', 'executor', 'guard', 'cli'] as const) {
      const everything = Object.fromEntries(
        Object.keys({ ...COMPLETE.start, ...COMPLETE.executor }).map((name) => [name, `${secret} ${secret}`]),
      );
      const read = readConfig(
        { ...everything, PORT: secret, SLACK_API_URL: secret, COUNTERSIGN_OTHER: secret },
        part,
      );
      expect(JSON.stringify(read)).not.toContain('hunter2');
    }
  });

  it('reports a COUNTERSIGN_ variable that nobody reads', () => {
    expect(problemsOf('cli', { COUNTERSIGN_POLICI: 'x' })).toEqual([
      expect.stringContaining('COUNTERSIGN_POLICI is not a variable that Countersign knows'),
    ]);
  });

  it('shows no secret when it is printed or serialised', () => {
    const start = configOf('start', { REDIS_URL: 'redis://me:pa55word@127.0.0.1:6390' });
    const executor = configOf('executor', {
      COUNTERSIGN_CREDENTIALS: '',
      COUNTERSIGN_CRED_ACME__PRODUCTION__WRITE__TOKEN: 'pa55word',
    });
    for (const config of [start, executor]) {
      const shown = [
        inspect(config, { depth: 9, showHidden: true }),
        JSON.stringify(config),
        `${config.proposalKeys}`,
      ];
      for (const text of shown) {
        expect(text).not.toMatch(/xoxb-1|xapp-1|pa55word/);
        expect(text).not.toContain(proposalKey);
        expect(text).not.toContain('7, 7, 7');
        expect(text).not.toContain(privateDer.slice(-20));
      }
    }
    expect({ ...new Secret('pa55word') }).toEqual({});
  });
});

describe('a part holds only what is its own', () => {
  it.each([
    ['start', 'COUNTERSIGN_CREDENTIALS', '/run/secrets'],
    ['start', 'COUNTERSIGN_CRED_ACME__PRODUCTION__WRITE__TOKEN', 'secret'],
    ['executor', 'COUNTERSIGN_APPROVAL_PRIVATE_KEY', privatePem],
    ['executor', 'COUNTERSIGN_APPROVAL_PRIVATE_KEY', 'even a broken one'],
    ['executor', 'SLACK_BOT_TOKEN', 'xoxb-1-abc'],
    ['executor', 'SLACK_APP_TOKEN', 'xapp-1-abc'],
    ['executor', 'SLACK_SIGNING_SECRET', 'x'.repeat(32)],
    ['executor', 'SLACK_CLIENT_SECRET', 'x'.repeat(32)],
    ['executor', 'COUNTERSIGN_TOKEN_KEY', Buffer.alloc(32).toString('base64')],
    ['guard', 'COUNTERSIGN_APPROVAL_PRIVATE_KEY', privatePem],
    ['executor', 'COUNTERSIGN_AUDIT_PRIVATE_KEY', auditPem],
    ['guard', 'COUNTERSIGN_AUDIT_PRIVATE_KEY', auditPem],
  ] as const)('[approval:signed-outside-redis] %s refuses to start with %s', (part, name, value) => {
    expect(problemsOf(part, { [name]: value })).toEqual([
      expect.stringContaining(`${name} must not be set here`),
    ]);
  });

  it.each([
    ['PEM', privatePem],
    ['PEM in one line', privatePem.replaceAll('\n', '\\n')],
    ['base64 DER', privateDer],
  ])(
    '[approval:signed-outside-redis] the executor refuses the private key under the public one’s name: %s',
    (_form, key) => {
      expect(problemsOf('executor', { COUNTERSIGN_APPROVAL_PUBLIC_KEY: key })).toEqual([
        expect.stringContaining('and not the private one'),
      ]);
    },
  );
});

describe('keys', () => {
  it.each([
    ['PEM', privatePem, publicPem],
    ['PEM in one line', privatePem.replaceAll('\n', '\\n'), publicPem.replaceAll('\n', '\\n')],
    ['base64 DER', privateDer, publicDer],
  ])('takes Ed25519 keys as %s', (_form, privateKey, publicKey) => {
    expect(configOf('start', { COUNTERSIGN_APPROVAL_PRIVATE_KEY: privateKey }).approvalPrivateKey.type).toBe(
      'private',
    );
    expect(
      configOf('executor', { COUNTERSIGN_APPROVAL_PUBLIC_KEY: publicKey }).approvalPublicKeys.map(
        ({ type }) => type,
      ),
    ).toEqual(['public']);
  });

  it('takes several proposal keys and approval keys while they are changed, and nothing else between the commas', () => {
    const [first, second] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
    const both = `${first.toString('base64')}, ${second.toString('base64')}`;
    expect(configOf('guard', { COUNTERSIGN_PROPOSAL_KEY: both }).proposalKeys.reveal()).toEqual(
      [first, second].map((key) => new Uint8Array(key)),
    );
    for (const text of [`${both},`, `,${both}`, `${both},short`, `${both};${both}`]) {
      expect(problemsOf('guard', { COUNTERSIGN_PROPOSAL_KEY: text })).toHaveLength(1);
    }
    const keys = `${publicDer},${publicPem.replaceAll('\n', '\\n')}`;
    const several = { COUNTERSIGN_APPROVAL_PUBLIC_KEY: keys };
    expect(configOf('executor', several).approvalPublicKeys).toHaveLength(2);
    expect(configOf('start', several).approvalPublicKeys).toHaveLength(2);
    expect(configOf('start', {}).approvalPublicKeys).toEqual([]);
    expect(
      problemsOf('executor', { COUNTERSIGN_APPROVAL_PUBLIC_KEY: `${publicDer},${privateDer}` }),
    ).toHaveLength(1);
  });

  it.each(['0', '1', '0.25', '.5', '1.0'])('takes %s as the part of reads that is logged', (text) => {
    expect(configOf('guard', { COUNTERSIGN_READ_LOG_SAMPLE: text }).readLogSample).toBe(Number(text));
  });
  it.each(['1.5', '-1', 'all', '1e-1', '50%'])('refuses %s as the part of reads that is logged', (text) => {
    expect(problemsOf('guard', { COUNTERSIGN_READ_LOG_SAMPLE: text })).toHaveLength(1);
  });

  it.each([
    'COUNTERSIGN_APPROVAL_PRIVATE_KEY',
    'COUNTERSIGN_AUDIT_PRIVATE_KEY',
    'COUNTERSIGN_TOKEN_KEY',
    'SLACK_BOT_TOKEN',
    'SLACK_APP_TOKEN',
    'SLACK_SIGNING_SECRET',
    'SLACK_CLIENT_SECRET',
  ])('a guard and an executor refuse to start with %s', (name) => {
    for (const part of ['guard', 'executor'] as const) {
      const problems = problemsOf(part, { [name]: 'anything' });
      expect(problems.join()).toContain(`${name} must not be set here`);
    }
  });

  it.each([
    ['another algorithm', rsa.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string],
    ['the public key', publicPem],
    ['noise', 'AAAA'],
  ])('refuses as the private key: %s', (_what, key) => {
    expect(problemsOf('start', { COUNTERSIGN_APPROVAL_PRIVATE_KEY: key })).toHaveLength(1);
  });

  it('takes 32 bytes of base64 or base64url as the proposal key, and refuses less or anything else', () => {
    const bytes = Buffer.alloc(32, 0xfb);
    for (const text of [bytes.toString('base64'), bytes.toString('base64url')]) {
      expect(configOf('guard', { COUNTERSIGN_PROPOSAL_KEY: text }).proposalKeys.reveal()).toEqual([
        new Uint8Array(bytes),
      ]);
    }
    for (const text of [
      Buffer.alloc(31).toString('base64'),
      'a long pass phrase with more than forty-four letters',
    ]) {
      expect(problemsOf('guard', { COUNTERSIGN_PROPOSAL_KEY: text })).toHaveLength(1);
    }
  });
});

describe('the audit', () => {
  it('needs a directory and a key of its own, never the one that signs approvals', () => {
    expect(configOf('start').audit).toMatchObject({ directory: './audit', copy: undefined });
    expect(problemsOf('start', { COUNTERSIGN_AUDIT_PRIVATE_KEY: privateDer })).toEqual([
      expect.stringContaining('COUNTERSIGN_AUDIT_PRIVATE_KEY is the approval key'),
    ]);
    for (const key of [
      publicPem,
      'AAAA',
      rsa.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
    ]) {
      expect(problemsOf('start', { COUNTERSIGN_AUDIT_PRIVATE_KEY: key })).toHaveLength(1);
    }
  });

  it('takes copies of its checkpoints to another directory or an https address, which it shows nobody', () => {
    const copyOf = (text: string) => configOf('start', { COUNTERSIGN_AUDIT_COPY: text }).audit.copy;
    expect(copyOf('/mnt/elsewhere')?.reveal()).toEqual({ directory: '/mnt/elsewhere' });
    const secret = copyOf('https://h.example/in/pa55word');
    expect(secret?.reveal()).toEqual({ url: new URL('https://h.example/in/pa55word') });
    expect(
      inspect(configOf('start', { COUNTERSIGN_AUDIT_COPY: 'https://h/pa55word' }), { depth: 9 }),
    ).not.toContain('pa55word');
    expect(copyOf('http://127.0.0.1:8080/')?.reveal()).toEqual({ url: new URL('http://127.0.0.1:8080/') });
  });

  it.each([
    'http://h.example/',
    'https://me:secret@h.example/',
    'ftp://h.example/',
    'https://h/#x',
    './audit',
    'audit/',
  ])('refuses to copy its checkpoints to %s', (text) => {
    expect(problemsOf('start', { COUNTERSIGN_AUDIT_COPY: text })).toEqual([
      expect.stringContaining('COUNTERSIGN_AUDIT_COPY'),
    ]);
  });
});

describe('Slack', () => {
  it('takes one bot token or several, and the same one only once', () => {
    const { botTokens } = configOf('start', { SLACK_BOT_TOKEN: 'xoxb-1-a, xoxb-2-b' }).slack;
    expect(botTokens.map((token) => token.reveal())).toEqual(['xoxb-1-a', 'xoxb-2-b']);
    for (const text of ['xoxb-1-a,xoxb-1-a', 'xoxb-1-a,', 'xoxp-1-a', 'xoxb-1-a xoxb-2-b']) {
      expect(problemsOf('start', { SLACK_BOT_TOKEN: text })).toHaveLength(1);
    }
  });

  it('takes the install flow in place of bot tokens, or beside them, and then needs all of it', () => {
    const tokenKey = Buffer.alloc(32, 5).toString('base64');
    const flow = {
      SLACK_CLIENT_ID: '1234.5678',
      SLACK_CLIENT_SECRET: '0'.repeat(32),
      COUNTERSIGN_TOKEN_KEY: tokenKey,
      COUNTERSIGN_PUBLIC_URL: 'https://approvals.example',
    };
    const { slack, listen } = configOf('start', { ...flow, SLACK_BOT_TOKEN: '' });
    expect(slack).toMatchObject({
      botTokens: [],
      oauth: {
        clientId: '1234.5678',
        redirectUri: 'https://approvals.example/slack/oauth_redirect',
      },
    });
    expect(listen).toEqual({ host: '127.0.0.1', port: 3000 });
    expect(inspect(slack, { depth: 9 })).not.toContain(tokenKey);
    expect(configOf('start', flow).slack.botTokens).toHaveLength(1);
    expect(configOf('start').slack.oauth).toBeUndefined();
    expect(problemsOf('start', { SLACK_CLIENT_ID: '1234.5678' })).toEqual([
      expect.stringMatching(/^SLACK_CLIENT_SECRET is missing/),
      expect.stringMatching(/^COUNTERSIGN_TOKEN_KEY is missing/),
    ]);
    const both = `${tokenKey}, ${Buffer.alloc(32, 6).toString('base64url')}`;
    const { oauth } = configOf('start', { ...flow, COUNTERSIGN_TOKEN_KEY: both }).slack;
    expect(oauth?.tokenKeys.reveal().opening.size).toBe(2);
    for (const wrong of [Buffer.alloc(31).toString('base64'), `${tokenKey},`, 'a pass phrase, and more']) {
      expect(problemsOf('start', { ...flow, COUNTERSIGN_TOKEN_KEY: wrong })).toHaveLength(1);
    }
  });

  it('needs the app token in Socket Mode and the signing secret in HTTP mode', () => {
    expect(problemsOf('start', { SLACK_MODE: 'http' })).toEqual([
      expect.stringMatching(/^SLACK_SIGNING_SECRET is missing/),
    ]);
    const http = { SLACK_MODE: 'http', SLACK_APP_TOKEN: '', SLACK_SIGNING_SECRET: '0'.repeat(32) };
    expect(configOf('start', http).slack.transport).toMatchObject({
      mode: 'http',
      listen: { host: '127.0.0.1', port: 3000 },
    });
    expect(configOf('start', { ...http, PORT: '8080', HOST: '0.0.0.0' }).listen).toEqual({
      host: '0.0.0.0',
      port: 8080,
    });
    expect(problemsOf('start', { SLACK_MODE: 'Socket' })).toEqual([
      expect.stringContaining('must be socket or http'),
    ]);
  });

  it.each([
    ['https://slack.com/api', 'https://slack.com/api/'],
    ['http://127.0.0.1:4000/api', 'http://127.0.0.1:4000/api/'],
    ['http://localhost:4000/api/', 'http://localhost:4000/api/'],
    ['http://[::1]:4000/api/', 'http://[::1]:4000/api/'],
  ])('takes %s as its address', (text, apiUrl) => {
    expect(configOf('start', { SLACK_API_URL: text }).slack.apiUrl).toBe(apiUrl);
  });

  it.each([
    'http://slack.com/api/',
    'http://127.0.0.1.example.com/api/',
    'http://localhost.example.com/api/',
    'https://user:password@slack.com/api/',
    'https://slack.com/api/?x=1',
    'ftp://127.0.0.1/',
    'slack.com/api/',
  ])('refuses to send tokens to %s', (text) => {
    expect(problemsOf('start', { SLACK_API_URL: text })).toHaveLength(1);
  });
});

describe('REDIS_URL', () => {
  it.each([
    ['redis://127.0.0.1', { host: '127.0.0.1', port: 6379, db: 0 }, 'redis://127.0.0.1:6379/0'],
    ['redis://h:1/7', { host: 'h', port: 1, db: 7 }, 'redis://h:1/7'],
    ['redis://[::1]:6380', { host: '::1', port: 6380, db: 0 }, 'redis://[::1]:6380/0'],
    [
      'rediss://me:p%40ss@h:6380',
      { host: 'h', port: 6380, db: 0, username: 'me', password: 'p@ss', tls: {} },
      'rediss://h:6380/0',
    ],
    ['redis://:secret@h', { host: 'h', port: 6379, db: 0, password: 'secret' }, 'redis://h:6379/0'],
    ['redis+unix:///run/redis.sock', { path: '/run/redis.sock', db: 0 }, '/run/redis.sock'],
    ['redis+unix:///run/redis.sock?db=3', { path: '/run/redis.sock', db: 3 }, '/run/redis.sock'],
    ['/run/redis.sock', { path: '/run/redis.sock', db: 0 }, '/run/redis.sock'],
  ])('%s', (text, connection, address) => {
    const { redis } = configOf('cli', { REDIS_URL: text });
    expect(redis.connection.reveal()).toEqual(connection);
    expect(redis.address).toBe(address);
    const client = new Redis({ ...redis.connection.reveal(), lazyConnect: true });
    expect(client.options).toMatchObject(connection);
    client.disconnect();
  });

  it.each([
    [
      'redis+sentinel://a:1,b,[::1]:2/mymaster',
      {
        sentinels: [
          { host: 'a', port: 1 },
          { host: 'b', port: 26_379 },
          { host: '::1', port: 2 },
        ],
        name: 'mymaster',
        db: 0,
      },
      'redis+sentinel://a:1,b:26379,[::1]:2/mymaster/0',
    ],
    [
      'rediss+sentinel://me:p%40ss@a:1/my%2Fmaster/3?sentinelUsername=you&sentinelPassword=w%26rd',
      {
        sentinels: [{ host: 'a', port: 1 }],
        name: 'my/master',
        db: 3,
        username: 'me',
        password: 'p@ss',
        sentinelUsername: 'you',
        sentinelPassword: 'w&rd',
        tls: {},
        sentinelTLS: {},
        enableTLSForSentinelMode: true,
      },
      'rediss+sentinel://a:1/my/master/3',
    ],
    [
      'redis+sentinel://:p+q@a:1/m?sentinelPassword=a+b%20c=d',
      {
        sentinels: [{ host: 'a', port: 1 }],
        name: 'm',
        db: 0,
        password: 'p+q',
        sentinelPassword: 'a+b c=d',
      },
      'redis+sentinel://a:1/m/0',
    ],
    [
      'redis+cluster://:secret@a:1,b',
      {
        cluster: [
          { host: 'a', port: 1 },
          { host: 'b', port: 6379 },
        ],
        password: 'secret',
      },
      'redis+cluster://a:1,b:6379',
    ],
    ['rediss+cluster://a:1/0', { cluster: [{ host: 'a', port: 1 }], tls: {} }, 'rediss+cluster://a:1'],
  ])('%s', (text, connection, address) => {
    const { redis } = configOf('cli', { REDIS_URL: text });
    expect(redis.connection.reveal()).toEqual(connection);
    expect(redis.address).toBe(address);
  });

  it.each([
    ['redis+sentinel://a:1,b:2', 'the name under which the Sentinels know the master'],
    ['redis+sentinel://a:1/m/2/3', 'the name under which the Sentinels know the master'],
    ['redis+sentinel://a:1/m/x', 'a database that is no number'],
    ['redis+sentinel://a:1/m?password=pa55word', '?sentinelUsername='],
    ['redis+sentinel://a:1/m?sentinelPassword=pa55%word', 'written %25'],
    ['redis+cluster://a:1?sentinelPassword=pa55word', 'no query for a Cluster'],
    ['redis+cluster://a:1,,b:2', 'host:port, with commas between them'],
    ['redis+cluster://a:99999', 'host:port, with commas between them'],
    ['redis+cluster://', 'host:port, with commas between them'],
    ['redis+cluster://a:1/2', 'database 0 alone'],
    ['redis+cluster://:pa55%word@a:1', 'written %25'],
    ['redis+cluster://me:pa55word@x@a:1', 'scheme://user:password@host:port'],
  ])('refuses %s, says what is wrong with it, and repeats nothing of it', (text, why) => {
    const problems = problemsOf('cli', { REDIS_URL: text });
    expect(problems).toEqual([expect.stringContaining(why)]);
    expect(problems[0]).not.toMatch(/pa55/);
  });

  it('takes the number of replicas that have to hold what counts from COUNTERSIGN_REDIS_REPLICAS', () => {
    const cluster = { REDIS_URL: 'redis+cluster://a:1' };
    expect(configOf('cli', cluster).redis.replicas).toBeUndefined();
    expect(configOf('cli', { ...cluster, COUNTERSIGN_REDIS_REPLICAS: '0' }).redis.replicas).toBe(0);
    expect(configOf('cli', { COUNTERSIGN_REDIS_REPLICAS: '2' }).redis.replicas).toBe(2);
    expect(problemsOf('cli', { COUNTERSIGN_REDIS_REPLICAS: '6' })).toHaveLength(1);
  });

  it.each([
    'localhost',
    'localhost:6379',
    'http://h',
    'redis://',
    'redis://h/x',
    'redis+unix://',
    'redis+unix://h/s',
    './s',
  ])('refuses %s', (text) => {
    expect(problemsOf('cli', { REDIS_URL: text })).toHaveLength(1);
  });
});

describe('numbers', () => {
  it.each([
    ['PORT', '-1'],
    ['PORT', '3e3'],
    ['PORT', '0x50'],
    ['COUNTERSIGN_SHARDS', '0'],
    ['COUNTERSIGN_SHARDS', '257'],
    ['COUNTERSIGN_START_DEADLINE_MS', '4'],
    ['COUNTERSIGN_START_DEADLINE_MS', '99999999999999999999'],
  ])('refuses %s=%s', (name, value) => {
    expect(problemsOf('cli', { [name]: value })).toEqual([
      expect.stringContaining('must be a whole number from'),
    ]);
  });
});

describe('credentials', () => {
  it('in variables are enough for an executor', () => {
    const name = 'COUNTERSIGN_CRED_ACME__PRODUCTION__WRITE__TOKEN';
    const { credentials } = configOf('executor', { COUNTERSIGN_CREDENTIALS: '', [name]: 's' });
    expect(credentials.directory).toBeUndefined();
    expect(credentials.variables.reveal()).toEqual({ [name]: 's' });
  });
});

describe('credentials in variables', () => {
  it('whose name is none are a problem at the start, not at the first call', () => {
    expect(
      problemsOf('executor', { COUNTERSIGN_CREDENTIALS: '', COUNTERSIGN_CRED_ACME__TOKEN: 's' }),
    ).toEqual([expect.stringContaining('COUNTERSIGN_CRED_ACME__TOKEN: expected')]);
  });
});

describe('credentials in two places', () => {
  it.each(['executor', 'guard'] as const)('are refused for %s', (part) => {
    const name = 'COUNTERSIGN_CRED_ACME__PRODUCTION__WRITE__TOKEN';
    expect(problemsOf(part, { COUNTERSIGN_CREDENTIALS: '/run/secrets', [name]: 's' })).toEqual([
      expect.stringContaining('are both set'),
    ]);
  });
});

describe('.env', () => {
  const directory = mkdtempSync(join(tmpdir(), 'cs-env-'));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  it('gives what the environment does not', () => {
    const path = join(directory, '.env');
    writeFileSync(path, 'A=file\nB=file\nC="two\nlines"\nD=file # a comment\n');
    const env = loadDotEnv(path, { A: 'environment', B: '', E: 'environment' });
    expect(env).toEqual({ A: 'environment', B: 'file', C: 'two\nlines', D: 'file', E: 'environment' });
  });

  it('may be absent', () => {
    expect(loadDotEnv(join(directory, 'absent'), { A: '1' })).toEqual({ A: '1' });
  });

  it('example names every variable once, holds no usable secret, and comments each line', () => {
    const text = readFileSync(new URL('../.env.example', import.meta.url), 'utf8');
    const lines = text.split('\n');
    const names = lines.flatMap((line) => /^#?([A-Z][A-Z_]+)=/.exec(line)?.[1] ?? []);
    expect(names).toEqual([...new Set(names)]);
    const known = readConfig({ ...Object.fromEntries(names.map((name) => [name, 'x'])) }, 'cli');
    expect(JSON.stringify(known)).not.toContain('is not a variable');
    for (const variable of Object.keys({ ...COMPLETE.start, ...COMPLETE.executor }))
      expect(names).toContain(variable);
    for (const [index, line] of lines.entries()) {
      if (/^#?[A-Z][A-Z_]+=/.test(line)) expect(lines[index - 1]).toMatch(/^# /);
    }
    const read = readConfig(parseEnv(text) as Environment, 'start');
    expect(read.ok ? [] : read.problems.map((problem) => problem.split(' ')[0])).toEqual([
      'COUNTERSIGN_TOOLS',
      'COUNTERSIGN_PROPOSAL_KEY',
      'SLACK_BOT_TOKEN',
      'SLACK_APP_TOKEN',
      'COUNTERSIGN_APPROVAL_PRIVATE_KEY',
      'COUNTERSIGN_AUDIT_PRIVATE_KEY',
    ]);
  });
});
