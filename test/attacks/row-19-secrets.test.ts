import { afterEach, beforeEach, expect } from 'vitest';
import { Credentials } from '../../src/core/execution/credentials.ts';
import { ToolRejected } from '../../src/core/execution/tool-rejected.ts';
import { Execution } from '../../src/queue/execution.ts';
import { RunningParts } from '../queue/running-parts.ts';
import { closeTicketWith } from '../queue/sealed-call.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { type AttackCase, attackRow } from './attack-row.ts';

/**
 * A tool, or the system that it writes to, gives back the credential that the executor handed out: in what it throws or
 * returns, in whatever form. It must be in no outcome, no log line and nowhere in Redis.
 */

/** Something of it is encoded in every form, and a part of it in none: that part is found in whatever form it is left. */
const SECRET = 'wr/te+t0k"n&p\u00e4ss=<Q7xWvUtS3rPq9>';

const server = redisForTests();
let parts: RunningParts;
beforeEach(async () => {
  parts = new RunningParts(server.connectionOptions);
  await parts.armWrites();
});
afterEach(() => parts.close());

/** Every form that is looked for; any eight characters of it in a row give it away. */
const bytes = Buffer.from(SECRET);
const WORDS = [
  SECRET,
  JSON.stringify(SECRET).slice(1, -1),
  encodeURIComponent(SECRET),
  bytes.toString('hex'),
  ...['', 'a', 'ab'].map((before) =>
    Buffer.from(before + SECRET)
      .toString('base64')
      .slice(4, -4),
  ),
];
const WINDOWS = WORDS.flatMap((word) =>
  Array.from({ length: word.length - 9 }, (_, at) => word.slice(at, at + 10).toLowerCase()),
);
function leaks(text: string): string[] {
  const searched = text.toLowerCase();
  return WINDOWS.filter((window) => searched.includes(window));
}

/** What Redis holds, whole: names, values, whatever their types. */
async function dumped(): Promise<string> {
  const keys = await parts.redis.keys('*');
  const values = await Promise.all(
    keys.map(async (key) => {
      switch (await parts.redis.type(key)) {
        case 'hash':
          return parts.redis.hgetall(key);
        case 'stream':
          return parts.redis.xrange(key, '-', '+');
        case 'zset':
          return parts.redis.zrange(key, '0', '-1');
        case 'list':
          return parts.redis.lrange(key, 0, -1);
        case 'set':
          return parts.redis.smembers(key);
        default:
          return parts.redis.get(key);
      }
    }),
  );
  return JSON.stringify([keys, values]);
}

type Act = (secret: string) => unknown;

async function attempted(act: Act): Promise<{ outcome: string; everything: string }> {
  const tool = closeTicketWith((_args, run) => act(run.credentials.get('token')));
  const call = await parts.approvedCall();
  const credentials = { fetch: async () => new Credentials({ token: SECRET, user: 'acme-bot' }) };
  const attempt = await new Execution(parts.executionParts(tool, { credentials })).attempt(call.terms.id);
  const record = await parts.store.read(call.terms.id);
  const outcome = JSON.stringify([attempt, record?.state]);
  return { outcome, everything: outcome + (await dumped()) + parts.logged.join('') };
}

function leaksNothing(title: string, act: Act): AttackCase {
  return [
    `[execution:credentials-at-the-boundary] ${title}`,
    async () => {
      const { everything } = await attempted(act);
      expect(leaks(everything)).toEqual([]);
    },
  ];
}

/** The forms in which it comes back from a header, a body, an address, or a page about them. */
const FORMS: readonly [string, (secret: string) => string][] = [
  ['as it is', (secret) => `401 for Authorization: Bearer ${secret}`],
  ['in JSON', (secret) => JSON.stringify({ token: secret })],
  ['in JSON within JSON', (secret) => JSON.stringify({ body: JSON.stringify({ token: secret }) })],
  ['in JSON with its slashes escaped', (secret) => JSON.stringify({ token: secret }).replaceAll('/', '\\/')],
  ['in JSON of ASCII alone', (secret) => JSON.stringify({ token: secret }).replaceAll('ä', '\\u00e4')],
  ['in JSON of ASCII in capitals', (secret) => JSON.stringify({ token: secret }).replaceAll('ä', '\\u00E4')],
  ['in a query', (secret) => `https://api.example/?a=1&token=${encodeURIComponent(secret)}&b=2`],
  [
    'in a query in small letters',
    (secret) => encodeURIComponent(secret).replaceAll(/%../g, (octet) => octet.toLowerCase()),
  ],
  ['in a query, encoded twice', (secret) => encodeURIComponent(encodeURIComponent(secret))],
  ['in an address with as little encoded as can be', (secret) => encodeURI(`https://api.example/${secret}`)],
  [
    'in the user part of an address',
    (secret) => new URL(`https://u:${encodeURIComponent(secret)}@api.example`).href,
  ],
  ['in a form', (secret) => new URLSearchParams({ grant: 'x', secret }).toString()],
  [
    'in a page of HTML',
    (secret) =>
      `<pre>${secret.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')}</pre>`,
  ],
  [
    'in a page of HTML with numbers',
    (secret) =>
      secret
        .replaceAll('&', '&#38;')
        .replaceAll('<', '&#60;')
        .replaceAll('>', '&#62;')
        .replaceAll('"', '&#34;'),
  ],
  ['in hex', (secret) => Buffer.from(secret).toString('hex')],
  ['in base64', (secret) => Buffer.from(secret).toString('base64')],
  ['in base64 behind a name', (secret) => Buffer.from(`acme-bot:${secret}`).toString('base64')],
  ['in base64 for addresses', (secret) => Buffer.from(`u:${secret}`).toString('base64url')],
  ['in base64 in an address', (secret) => encodeURIComponent(Buffer.from(`us:${secret}`).toString('base64'))],
  ['a hundred times', (secret) => `${secret}\n`.repeat(100)],
  ['across the place where a long text is cut', (secret) => `${'x'.repeat(480)}${secret}${'x'.repeat(480)}`],
];

const httpError = (secret: string) =>
  Object.assign(new Error('Request failed with status code 401'), {
    config: { headers: { Authorization: `Bearer ${secret}` }, url: `https://x/?t=${secret}` },
    response: { status: 401, data: { echoed: secret } },
    toJSON: () => ({ secret }),
  });

attackRow(19, {
  attacks: [
    ...FORMS.map(([how, form]) =>
      leaksNothing(`an error that quotes it ${how}`, (secret) => {
        throw new Error(form(secret));
      }),
    ),
    ...FORMS.map(([how, form]) =>
      leaksNothing(`a refusal that quotes it ${how}`, (secret) => {
        throw new ToolRejected('refused_there', form(secret));
      }),
    ),
    ...FORMS.map(([how, form]) =>
      leaksNothing(`a result that holds it ${how}`, (secret) => ({ [form(secret)]: [form(secret)] })),
    ),
    leaksNothing('an error of an HTTP client, with its whole request', (secret) => {
      throw httpError(secret);
    }),
    leaksNothing('causes, five deep', (secret) => {
      throw [1, 2, 3, 4, 5].reduce(
        (cause, i) => new Error(`layer ${i}: ${secret}`, { cause }),
        new Error(secret),
      );
    }),
    leaksNothing('several errors in one', (secret) => {
      throw new AggregateError([new Error(secret), secret, { secret }], `all failed: ${secret}`);
    }),
    leaksNothing('an error that is its own cause', (secret) => {
      const error = new Error(secret);
      error.cause = error;
      throw error;
    }),
    leaksNothing('the name of an error', (secret) => {
      throw Object.assign(new Error('x'), { name: secret, code: secret });
    }),
    leaksNothing('the code of a refusal', (secret) => {
      throw new ToolRejected(secret, 'no');
    }),
    leaksNothing('a text that is thrown', (secret) => {
      throw secret;
    }),
    leaksNothing('an object that is thrown', (secret) => {
      throw { secret, toString: () => secret };
    }),
    leaksNothing('a stack that was set by hand', (secret) => {
      throw Object.assign(new Error('x'), { stack: `Error: ${secret}\n    at ${secret} (file://${secret})` });
    }),
    leaksNothing('a result deep within lists', (secret) => [[[[{ a: [secret] }]]]]),
    leaksNothing('a result that is only that', (secret) => secret),
    leaksNothing('a result that cannot be kept', (secret) => ({ secret, size: 1n })),
    leaksNothing(
      'a result too long to be kept whole',
      (secret) => `${'x'.repeat(65_300)}${secret.repeat(20)}`,
    ),
  ],
  twins: [
    [
      'a result without it is kept as it is',
      async () => {
        const { outcome } = await attempted(() => ({ closed: 'T-1', note: 'Bearer of news & <html>' }));
        expect(outcome).toContain('Bearer of news & <html>');
        expect(outcome).not.toContain('[credential]');
      },
    ],
    [
      'a refusal says what the other system said',
      async () => {
        const { outcome } = await attempted(() => {
          throw new ToolRejected('ticket_locked', 'T-1 is locked by ana');
        });
        expect(outcome).toContain('T-1 is locked by ana');
      },
    ],
    [
      'what is left of a message is still told',
      async () => {
        const { outcome } = await attempted((secret) => {
          throw new ToolRejected('unauthorized', `the token ${secret} is too old`);
        });
        expect(outcome).toContain('the token [credential] is too old');
      },
    ],
  ],
});
