import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { Credentials } from '../../src/core/execution/credentials.ts';
import { scrub, scrubJson } from '../../src/core/secrets/scrub.ts';
import type { OpenGuard } from '../../src/create-guard.ts';
import type { ProposalHandle } from '../../src/guard/proposal-handle.ts';
import { CredentialsFromEnv } from '../../src/queue/credentials-from-env.ts';
import { LIST_ACTIONS } from '../../src/slack/list-actions.ts';
import { until } from '../queue/running-parts.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { CHANNEL, CONTEXT, PartsInProcess } from '../scenarios/parts-in-process.ts';
import { PLANTED, received } from './planted-tools.ts';

/** Forms in which a downstream system gives a credential back. */

const secrets = [
  'hunter2/the+write=token',
  'with "quotes" and \\slashes\\',
  "pässwort!'()* ~",
  '𝒮ecret%20%2f',
];

const forms: [string, (secret: string) => string][] = [
  ['a header', (secret) => `Bearer ${secret}`],
  ['JSON', (secret) => JSON.stringify({ secret })],
  ['JSON within JSON', (secret) => JSON.stringify({ body: JSON.stringify({ secret }) })],
  ['a URL', (secret) => `https://x/?t=${encodeURIComponent(secret)}`],
  [
    'a URL in lower case',
    (secret) => encodeURIComponent(secret).replaceAll(/%../g, (octet) => octet.toLowerCase()),
  ],
  ['a form', (secret) => new URLSearchParams({ secret }).toString()],
  ['hex', (secret) => Buffer.from(secret).toString('hex')],
  ['HEX', (secret) => Buffer.from(secret).toString('hex').toUpperCase()],
  ['base64 at 0', (secret) => Buffer.from(secret).toString('base64')],
  ['base64 at 1', (secret) => Buffer.from(`abc:${secret}`).toString('base64')],
  ['base64 at 2', (secret) => Buffer.from(`ab${secret}xyz`).toString('base64url')],
];

describe.each(secrets)('the credential %j', (secret) => {
  const credentials = new Credentials({ token: secret });

  it.each(forms)('[execution:credentials-at-the-boundary] leaves no trace in %s', (_, form) => {
    const text = form(secret);
    const clean = scrub(text, credentials);
    expect(clean).toContain('[credential]');
    expect(clean.length).toBeLessThan(text.length);
    const json = scrubJson(JSON.stringify({ text, [text]: [text] }), credentials);
    expect(JSON.stringify(JSON.parse(json))).toBe(json);
    expect(json.split('[credential]').length).toBeGreaterThanOrEqual(4);
  });
});

const POLICY = `
tools: { allow: [vault.put, note.write, note.read] }
write_tools: { enabled: true }
approvals:
  required_for: [vault.put]
  defaults: { approvers: ["usergroup:S0SUPPORT"], expires_in: 20m, edit: true, reason: { deny: optional } }
  rules:
    - tools: [note.write]
      grants: { max_uses: 5, for: 1h }
tenants:
  acme: { slack: { team: T0ACME, channel: ${CHANNEL} }, environments: [production], limits: { fold_above: 3 } }
switch: { operators: ["usergroup:S0ONCALL"], arming: { operators: ["user:U0LEAD"] } }
`;

/** In each form in which something may stand in a log line, a file or a key: in full, and no word of our own scrubber. */
function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  return [
    secret,
    JSON.stringify(secret).slice(1, -1),
    JSON.stringify(JSON.stringify(secret)).slice(2, -2),
    encodeURIComponent(secret),
    bytes.toString('hex'),
    ...['', 'a', 'ab'].map((before) =>
      Buffer.from(`${before}${secret}`).toString('base64').slice(4, -4).replace(/=+$/, ''),
    ),
  ];
}

const holds = (haystack: string, secret: string) => formsOf(secret).some((form) => haystack.includes(form));

describe('secrets planted in a whole installation', () => {
  const redis = redisForTests({ appendOnly: 'always' });
  let parts: PartsInProcess;
  /** By where it was found, everything that stands there. */
  const places: Record<string, string> = {};
  let agentGot = '';
  const heard: string[] = [];
  let monitor: Redis | undefined;

  beforeAll(async () => {
    parts = await PartsInProcess.open({
      redis: redis.connectionOptions.path,
      policy: POLICY,
      toolsPath: join(import.meta.dirname, 'planted-tools.ts'),
    });
    monitor = await redis.connect().monitor();
    monitor.on('monitor', (_time: string, args: string[]) => void heard.push(args.join(' ')));
    await parts.armWrites();
    const tokens = {
      COUNTERSIGN_CRED_ACME__PRODUCTION__WRITE__TOKEN: PLANTED.writeToken,
      COUNTERSIGN_CRED_ACME__PRODUCTION__READ__TOKEN: PLANTED.readToken,
    };
    await Promise.all([parts.approvals(), parts.executor(tokens)]);
    const guard = await parts.guard({ readCredentials: new CredentialsFromEnv(tokens) });
    const got = await everythingThatHappens(guard);
    agentGot = got.map((value) => inspect(value, { depth: 12 }) + (JSON.stringify(value) ?? '')).join('\n');
    await until(
      'the last entries are sealed',
      () => filesUnder(parts.auditDirectory).includes('proposal.withdrawn'),
      20_000,
    );
    places.slack = JSON.stringify(parts.slack.traffic.all);
    places.audit = filesUnder(parts.auditDirectory);
    places.redis = await valuesIn(redis.client);
    places['what Redis was ever told'] = heard.join('\n');
    places["Redis's files"] = filesUnder(
      z.tuple([z.string(), z.string()]).parse(await redis.client.config('GET', 'dir'))[1],
    );
    places.log = parts.logged.join('');
  }, 120_000);
  afterAll(async () => {
    monitor?.disconnect();
    await parts.close();
  });

  async function everythingThatHappens(guard: OpenGuard): Promise<unknown[]> {
    const got: unknown[] = [];
    const ana = parts.person('U0ANA');
    const caught = (call: Promise<unknown>) => call.catch((error: unknown) => error);
    const note = (text: string, fate: string) => ({
      tool: 'note.write',
      args: { text, fate },
      reason: PLANTED.reason,
    });
    const settled = async (handle: ProposalHandle) =>
      got.push(await caught(handle.result({ timeout: 30_000 })));
    const approved = async (handle: ProposalHandle) => {
      await ana.click(await parts.card(handle.id), 'cs_approve');
      await settled(handle);
    };

    const read = { tool: 'note.read', args: { text: PLANTED.argument, fails: false } };
    got.push(await caught(guard.call(read, CONTEXT)));
    got.push(await caught(guard.call({ ...read, args: { ...read.args, fails: true } }, CONTEXT)));
    const vault = (name: string, password: string) => ({ tool: 'vault.put', args: { name, password } });
    const refused = guard.propose(vault('x', `${PLANTED.declared}-refused`), CONTEXT);
    await caught(refused);

    const put = await guard.propose(
      { ...vault('mine', PLANTED.declared), idempotencyKey: PLANTED.idempotencyKey },
      CONTEXT,
    );
    const taken = await guard.propose(vault('taken', PLANTED.declared), CONTEXT);
    await approved(put);
    await approved(taken);

    const rejected = await guard.propose(note(`${PLANTED.argument} preview fails`, 'rejected'), CONTEXT);
    const thrown = await guard.propose(note(PLANTED.argument, 'thrown'), CONTEXT);
    const odd = await guard.propose(note(PLANTED.argument, 'no_error'), CONTEXT);
    for (const handle of [rejected, thrown, odd]) await approved(handle);

    const asked = await guard.propose(note(PLANTED.argument, 'done'), CONTEXT);
    const card = await parts.card(asked.id);
    await ana.click(card, 'cs_edit');
    const form = await ana.waitForView(({ callbackId }) => callbackId === 'cs_edit_form');
    await ana.submit(form, {
      cs_edit_arguments: JSON.stringify({ text: PLANTED.edited, fate: 'done' }),
    });
    const changed = await ana.waitForMessage(
      CHANNEL,
      ({ blocks }) =>
        JSON.stringify(blocks).includes(PLANTED.edited) &&
        JSON.stringify(blocks[0] ?? {}).includes('Approval'),
    );
    await parts.person('U0BEN').click(changed, 'cs_approve');
    await settled(asked);

    const first = await guard.propose(note(PLANTED.argument, 'done'), CONTEXT);
    await ana.click(await parts.card(first.id), 'cs_grant');
    const terms = await ana.waitForView(({ title }) => title === 'Allow more like this');
    const shown = await ana.submit(terms, {
      cs_grant_uses_number: { type: 'number_input', value: '3' },
      cs_grant_minutes_number: { type: 'number_input', value: '30' },
    });
    if (!shown.ok || shown.view === null) throw new Error(JSON.stringify(shown));
    await ana.submit(shown.view);
    await settled(first);
    got.push(await caught(guard.call(note(PLANTED.argument, 'done'), CONTEXT, { timeout: 30_000 })));

    const many: ProposalHandle[] = [];
    for (let i = 0; i < 5; i += 1) {
      many.push(await guard.propose(note(`${PLANTED.argument} ${i}`, 'done'), CONTEXT));
    }
    const digest = await ana.waitForMessage(
      CHANNEL,
      ({ blocks }) => JSON.stringify(blocks[0] ?? {}).includes('more calls'),
      30_000,
    );
    const ben = parts.person('U0BEN');
    await ben.click(digest, LIST_ACTIONS.open);
    await ben.waitForView(({ title }) => title === 'Waiting calls');
    for (const handle of many) await handle.withdraw('no longer needed');
    got.push(await caught(many[0]?.result() ?? Promise.resolve()));
    return got;
  }

  const tokensOfSlack = () => [
    parts.slack.world.app.appToken,
    parts.slack.world.app.signingSecret,
    ...parts.slack.world.workspaces.flatMap(({ installation }) => installation?.botToken ?? []),
  ];
  const everywhere = ['slack', 'audit', 'redis', 'what Redis was ever told', "Redis's files", 'log'];

  it('[execution:credentials-at-the-boundary] reach the tools, the agent and people where they may: what is searched for can be found', () => {
    const tool = JSON.stringify(received);
    for (const secret of [PLANTED.declared, PLANTED.argument, PLANTED.edited])
      expect(holds(tool, secret)).toBe(true);
    for (const secret of [PLANTED.writeToken, PLANTED.readToken]) expect(holds(tool, secret)).toBe(true);
    for (const secret of [PLANTED.argument, PLANTED.edited, PLANTED.reason, PLANTED.answered]) {
      expect(holds(places.slack ?? '', secret), secret).toBe(true);
    }
    for (const secret of [PLANTED.declared, PLANTED.answered])
      expect(holds(agentGot, secret), secret).toBe(true);
    // Each place was really looked at: something that belongs there is there.
    expect(places.audit).toContain('outcome.unknown');
    expect(places.redis).toContain('outcome');
    expect(places['what Redis was ever told']).toContain('{s0}:proposal:');
    expect(places["Redis's files"]).toContain('proposal.created');
    expect(places.log).toContain('note.write');
    expect(places.redis?.match(/v1\.[0-9a-f]{16}\./g)?.length).toBeGreaterThan(15);
  });

  it.each(everywhere)(
    '[execution:credentials-at-the-boundary] what the provider handed out is nowhere: %s',
    (place) => {
      for (const secret of [PLANTED.writeToken, PLANTED.readToken]) {
        for (const form of formsOf(secret)) expect(places[place]).not.toContain(form);
      }
    },
  );

  it('[execution:credentials-at-the-boundary] what the provider handed out is in no result and no error that the agent gets', () => {
    for (const secret of [PLANTED.writeToken, PLANTED.readToken]) {
      for (const form of formsOf(secret)) expect(agentGot).not.toContain(form);
    }
    expect(agentGot).toContain('[credential]');
  });

  it.each(everywhere)('keys and tokens are nowhere: %s', (place) => {
    const keys = [
      parts.keys.COUNTERSIGN_PROPOSAL_KEY,
      parts.keys.COUNTERSIGN_APPROVAL_PRIVATE_KEY,
      parts.keys.COUNTERSIGN_AUDIT_PRIVATE_KEY,
    ].map((key) => Buffer.from(key, 'base64').toString('latin1'));
    for (const key of [...keys, ...tokensOfSlack()]) expect(holds(places[place] ?? '', key)).toBe(false);
    for (const key of keys) {
      const bytes = Buffer.from(key, 'latin1');
      for (const form of [bytes.toString('base64'), bytes.toString('hex')])
        expect(places[place]).not.toContain(form);
    }
  });

  it.each(everywhere)('an argument that its tool declares secret is nowhere: %s', (place) => {
    for (const form of formsOf(PLANTED.declared)) expect(places[place]).not.toContain(form);
  });

  it.each(everywhere.filter((place) => place !== 'slack'))(
    'arguments, reasons of agents and answers of tools are for people and agents alone: %s',
    (place) => {
      const { argument, edited, reason, idempotencyKey, answered } = PLANTED;
      for (const secret of [argument, edited, reason, idempotencyKey, answered]) {
        for (const form of formsOf(secret)) expect(places[place]).not.toContain(form);
      }
    },
  );
});

/** Every key of every type, as it is read; a dump would be compressed. */
async function valuesIn(client: Redis): Promise<string> {
  const read: Record<string, (key: string) => Promise<unknown>> = {
    string: (key) => client.get(key),
    hash: (key) => client.call('HGETALL', key),
    list: (key) => client.lrange(key, 0, -1),
    set: (key) => client.smembers(key),
    zset: (key) => client.zrange(key, '0', '-1'),
    stream: (key) => client.xrange(key, '-', '+'),
  };
  const texts: string[] = [];
  for (const key of await client.keys('*')) {
    const type = await client.type(key);
    // It lapsed since the keys were listed.
    if (type === 'none') continue;
    const of = read[type];
    if (of === undefined) throw new Error(`${key} is of a type that is not searched`);
    texts.push(key, ...([await of(key)].flat(4) as unknown[]).map(String));
  }
  return texts.join('\n');
}

function filesUnder(directory: string): string {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'))
    .join('\n');
}
