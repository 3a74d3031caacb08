import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type CredentialScope, Credentials } from '../../src/core/execution/credentials.ts';
import {
  openPreview,
  PREVIEW_CHARACTERS,
  type ShownPreview,
  sealPreview,
} from '../../src/core/proposal/preview.ts';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { proposalKeyOf, type SealedTerms } from '../../src/core/proposal/seal.ts';
import { defineTool, type ToolDefinition, type ToolSpec } from '../../src/core/tool/tool.ts';
import { ToolRegistry } from '../../src/core/tool/tool-registry.ts';
import { Previewer, type PreviewerParts } from '../../src/queue/previewer.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { proposalKey } from '../../src/redis/keys.ts';
import { PreviewTasksRedis } from '../../src/redis/preview-tasks-redis.ts';
import { collectGarbage } from '../collect-garbage.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { RunningParts, SECRET, SHARDS, until } from './running-parts.ts';
import { type CallCase, PROPOSAL_KEY } from './sealed-call.ts';

const redis = redisForTests();
const input = z.strictObject({ ticket: z.string(), note: z.string().optional() });
type Spec = ToolSpec<typeof input>;

let parts: RunningParts;
let asked: CredentialScope[];
beforeEach(async () => {
  parts = new RunningParts(redis.connectionOptions);
  asked = [];
  await parts.armWrites();
});
afterEach(async () => {
  await parts.close();
});

function closeTicket(preview: Spec['preview'], more: Partial<Spec> = {}): ToolDefinition {
  return defineTool({
    name: 'ticket.close',
    description: 'Closes a ticket.',
    effect: 'write',
    input,
    execute: () => {
      throw new Error('a preview must not execute');
    },
    ...(preview === undefined ? {} : { preview }),
    ...more,
  });
}

function previewer(tool: ToolDefinition, changes: Partial<PreviewerParts> = {}): Previewer {
  return new Previewer({
    tasks: new PreviewTasksRedis({ redis: parts.redis, shards: SHARDS, keys: [PROPOSAL_KEY] }),
    store: parts.store,
    registry: new ToolRegistry([tool]),
    policy: parts.policy,
    proposalKeys: [PROPOSAL_KEY],
    credentials: {
      fetch: async (scope) => {
        asked.push(scope);
        return new Credentials({ token: SECRET });
      },
    },
    logger: parts.logger,
    ...changes,
  });
}

async function previewed(
  tool: ToolDefinition,
  call: CallCase = {},
  changes: Partial<PreviewerParts> = {},
): Promise<{ sealed: SealedTerms; shown: ShownPreview | undefined }> {
  const sealed = await parts.propose({ tool, ...call });
  await previewer(tool, changes).round();
  return { sealed, shown: await shownOf(sealed) };
}

async function shownOf(sealed: SealedTerms): Promise<ShownPreview | undefined> {
  const stored = (await parts.store.read(sealed.terms.id))?.preview;
  return stored && openPreview([PROPOSAL_KEY], sealed, stored);
}

async function entries(kind: string, id: ProposalId) {
  const audit = new AuditLogRedis({ redis: parts.redis, shards: SHARDS });
  return (await audit.read({ proposal: id, limit: 100 })).filter((entry) => entry.kind === kind);
}

describe('a preview', () => {
  it('[execution:credentials-at-the-boundary] is computed with read credentials of its own tenant and environment, and executes nothing', async () => {
    const tool = closeTicket(({ ticket }) => `would close ${ticket}`);
    const { sealed, shown } = await previewed(tool, { tool, args: { ticket: 'T-7' } });
    expect(shown).toEqual({ kind: 'text', text: 'would close T-7', cut: 0 });
    expect(asked).toEqual([
      { tenant: 'acme', environment: 'production', tool: 'ticket.close', access: 'read' },
    ]);
    expect(await parts.statusOf(sealed.terms.id)).toBe('pending');
  });

  it('[audit:every-transition] is audited by its digest, without its text, and marks the card', async () => {
    const tool = closeTicket(() => 'the words of the tool');
    const sealed = await parts.propose({ tool });
    const before = (await parts.store.read(sealed.terms.id))?.revision ?? 0;
    await previewer(tool).round();
    const [entry] = await entries('preview.kept', sealed.terms.id);
    expect(entry?.detail).toMatchObject({ termsDigest: sealed.termsDigest, failed: false });
    expect(JSON.stringify(entry)).not.toContain('the words of the tool');
    expect((await parts.store.read(sealed.terms.id))?.revision).toBe(before + 1);
  });

  it('is computed once, by however many executors', async () => {
    let runs = 0;
    const tool = closeTicket(() => {
      runs += 1;
      return 'said';
    });
    const { sealed } = await previewed(tool);
    await Promise.all([previewer(tool).round(), previewer(tool).round(), previewer(tool).round()]);
    expect(runs).toBe(1);
    expect(await entries('preview.kept', sealed.terms.id)).toHaveLength(1);
  });

  it('is taken up by another executor where the first one died, and given up after a few deaths', async () => {
    let runs = 0;
    const tool = closeTicket(() => {
      runs += 1;
      return 'said';
    });
    const sealed = await parts.propose({ tool });
    const tasks = new PreviewTasksRedis({ redis: parts.redis, shards: SHARDS, keys: [PROPOSAL_KEY] });
    for (let claims = 1; claims <= 3; claims += 1) {
      await until('the lease of the dead executor lapses', async () => {
        const [task] = await tasks.claim(4, 1);
        return task?.claims === claims;
      });
    }
    await until('somebody says that it failed', async () => {
      await previewer(tool).round();
      return (await shownOf(sealed)) !== undefined;
    });
    expect(await shownOf(sealed)).toEqual({ kind: 'failed' });
    expect(runs).toBe(0);
  });

  it('that fails, takes too long, or is no text is said to have failed, and what went wrong stays out of it', async () => {
    const failures: Spec['preview'][] = [
      () => {
        throw new Error(`403 for Bearer ${SECRET}`);
      },
      async () => {
        await collectGarbage();
        return new Promise<string>(() => {});
      },
      () => ({ toString: () => 'text' }) as unknown as string,
    ];
    for (const preview of failures) {
      const { sealed, shown } = await previewed(closeTicket(preview), {}, { limitMs: 50 });
      expect(shown).toEqual({ kind: 'failed' });
      expect(await parts.statusOf(sealed.terms.id)).toBe('pending');
    }
    expect(parts.logged.join('')).not.toContain(SECRET);
  });

  it('[execution:credentials-at-the-boundary] holds no credential, in no form, and no argument that is kept from view', async () => {
    const encoded = Buffer.from(`user:${SECRET}`).toString('base64');
    const tool = closeTicket(({ note }) => `token ${SECRET}, ${encoded}, note ${note}`, { redact: ['note'] });
    const { shown } = await previewed(tool, { args: { ticket: 'T-1', note: 'my private note' } });
    expect(JSON.stringify(shown)).not.toContain(SECRET);
    expect(JSON.stringify(shown)).not.toContain(encoded.slice(8, -4));
    expect(JSON.stringify(shown)).not.toContain('my private note');
    expect(shown).toMatchObject({ kind: 'text', text: expect.stringContaining('[credential]') });
  });

  it('is cut loudly where it is longer than people would read', async () => {
    const { shown } = await previewed(closeTicket(() => 'x'.repeat(PREVIEW_CHARACTERS + 500)));
    expect(shown).toEqual({ kind: 'text', text: 'x'.repeat(PREVIEW_CHARACTERS), cut: 500 });
  });
});

describe('before a preview is computed', () => {
  const never = closeTicket(() => {
    throw new Error('it ran');
  });

  it('[execution:the-executor-judges-again] the executor judges the seal, the tool and the policy', async () => {
    const forged = await parts.propose({ tool: never });
    await parts.redis.hset(proposalKey(forged.terms.id), 'seal', '0'.repeat(64));
    const changed = await parts.propose({
      tool: never,
      change: (terms) => ({ ...terms, toolDigest: 'a'.repeat(64) }),
    });
    await previewer(never).round();
    for (const sealed of [forged, changed]) {
      expect((await parts.store.read(sealed.terms.id))?.preview).toBeUndefined();
    }
    expect(asked).toEqual([]);
  });

  it('does nothing for what is not waiting for people any more', async () => {
    const sealed = await parts.propose({ tool: never });
    await parts.decide(sealed);
    expect(await previewer(never).round()).toBe(0);
    expect(asked).toEqual([]);
  });

  it('does nothing for a tool that has none', async () => {
    const { sealed, shown } = await previewed(closeTicket(undefined));
    expect(shown).toBeUndefined();
    expect(await entries('preview.kept', sealed.terms.id)).toEqual([]);
    expect(asked).toEqual([]);
  });
});

describe('the seal of a preview', () => {
  it('[proposal:frozen] holds for one proposal and its very terms, under the proposal key alone', async () => {
    const [one, other] = [await parts.propose(), await parts.propose({ args: { ticket: 'T-2' } })];
    const preview = sealPreview(PROPOSAL_KEY, one, { kind: 'text', text: 'harmless', cut: 0 });
    expect(openPreview([PROPOSAL_KEY], one, preview)).toEqual({ kind: 'text', text: 'harmless', cut: 0 });
    expect(openPreview([PROPOSAL_KEY], other, preview)).toBeUndefined();
    const changed = { ...one, termsDigest: other.termsDigest };
    expect(openPreview([PROPOSAL_KEY], changed, preview)).toBeUndefined();
    const altered = { ...preview, text: preview.text.replace('harmless', 'harmles5') };
    expect(openPreview([PROPOSAL_KEY], one, altered)).toBeUndefined();
    const foreign = sealPreview(proposalKeyOf(Buffer.alloc(32, 7)), one, { kind: 'failed' });
    expect(openPreview([PROPOSAL_KEY], one, foreign)).toBeUndefined();
    // The seal of the terms is of another domain.
    expect(openPreview([PROPOSAL_KEY], one, { text: one.text, seal: one.seal })).toBeUndefined();
  });
});
