import { inspect } from 'node:util';
import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type CredentialProvider, Credentials } from '../../src/core/execution/credentials.ts';
import { ToolRejected } from '../../src/core/execution/tool-rejected.ts';
import { defineTool } from '../../src/core/tool/tool.ts';
import { createGuard, type GuardOptions, type OpenGuard } from '../../src/create-guard.ts';
import { ACME } from '../sealed-terms.ts';

const SECRET = 'hunter2-the-read-token';
const POLICY = `
tools: { allow: [kb.read] }
tenants: { acme: { slack: { team: T0ACME, channel: C0ACMEAPP }, environments: [production] } }
`;
const read = defineTool({
  name: 'kb.read',
  description: 'Reads.',
  effect: 'read',
  input: z.strictObject({ how: z.enum(['well', 'badly', 'refused', 'oddly']) }),
  execute: ({ how }, { credentials }) => {
    const token = credentials.get('token');
    if (how === 'badly') throw Object.assign(new Error(`401 ${token}`), { name: token, headers: { token } });
    if (how === 'refused') throw new ToolRejected('gone', `not with ${token}`);
    if (how === 'oddly') throw { token };
    return { how };
  },
});

const given = () => ({
  policy: POLICY,
  tools: [read],
  // Reads need none.
  redis: { path: '/nowhere/redis.sock' },
  proposalKey: new Uint8Array(32).fill(1),
});

let guard: OpenGuard;
let lines: Record<string, unknown>[];
afterEach(() => guard.close());

function open(options: Partial<GuardOptions> = {}): void {
  lines = [];
  const write = (line: string) => void lines.push(JSON.parse(line));
  guard = createGuard({
    ...given(),
    readCredentials: { fetch: async () => new Credentials({ token: SECRET }) },
    logger: pino({ level: 'info' }, { write }),
    ...options,
  });
}
const ask = (how: string) => guard.call({ tool: 'kb.read', args: { how } }, ACME);
const logged = (msg: string) => lines.filter((line) => line.msg === msg);

describe('reads in the log', () => {
  it('are all there, where nothing else is said', async () => {
    open();
    for (let i = 0; i < 20; i += 1) await ask('well');
    expect(logged('read')).toHaveLength(20);
    expect(logged('read')[0]).toMatchObject({ tool: 'kb.read', tenant: 'acme', agent: 'support-bot' });
    expect(logged('read')[0]).not.toHaveProperty('sample');
  });

  it('are a part of them, which each line says, where a sample is asked for', async () => {
    open({ readLogSample: 0.25 });
    for (let i = 0; i < 400; i += 1) await ask('well');
    // A hundred, give or take more than chance ever does.
    expect(logged('read').length).toBeGreaterThan(40);
    expect(logged('read').length).toBeLessThan(180);
    expect(logged('read').every(({ sample }) => sample === 0.25)).toBe(true);
  });

  it('are none but those that failed, where none are asked for', async () => {
    open({ readLogSample: 0 });
    await ask('well');
    for (const how of ['badly', 'refused', 'oddly']) await ask(how).catch(() => {});
    expect(logged('read')).toHaveLength(0);
    expect(logged('read failed')).toHaveLength(3);
  });

  it.each([-0.1, 1.1, Number.NaN])('a sample of %d is refused', (readLogSample) => {
    open();
    expect(() => createGuard({ ...given(), readLogSample })).toThrow('from 0 to 1');
  });

  it.each(['badly', 'refused', 'oddly'])(
    '[execution:credentials-at-the-boundary] one that ends %s shows no credential, in the log or to the agent',
    async (how) => {
      open();
      const error = await ask(how).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: 'execution_failed', retryable: true });
      expect(inspect(error, { depth: 9, showHidden: true })).not.toContain(SECRET);
      expect(JSON.stringify(lines)).not.toContain(SECRET);
    },
  );

  it('[execution:credentials-at-the-boundary] what a provider throws reaches nobody, but for its own refusals', async () => {
    const broken: CredentialProvider = {
      fetch: async () => {
        throw new Error(`the vault says that ${SECRET} has expired`);
      },
    };
    open({ readCredentials: broken });
    const error = await ask('well').catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'execution_failed', cause: { code: 'credentials_unavailable' } });
    expect(inspect(error, { depth: 9, showHidden: true })).not.toContain(SECRET);
  });
});
