import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { Credentials } from '../../../src/core/execution/credentials.ts';
import { CallContext } from '../../../src/core/identity/call-context.ts';
import {
  defineTool,
  resultFrom,
  ToolDefinitionInvalid,
  type ToolRun,
  toolDigest,
} from '../../../src/core/tool/tool.ts';
import { ToolName } from '../../../src/core/tool/tool-name.ts';
import { DuplicateTool, ToolRegistry } from '../../../src/core/tool/tool-registry.ts';

const run: ToolRun = {
  context: CallContext.parse({
    tenant: 'acme',
    environment: 'production',
    agent: 'support-bot',
    principal: 'service:nightly-triage',
    run: 'run-1',
  }),
  credentials: new Credentials({}),
  signal: new AbortController().signal,
  idempotencyKey: 'k1',
};

const close = {
  name: 'ticket.close',
  description: 'Closes a ticket.',
  effect: 'write',
  input: z.strictObject({ id: z.int(), note: z.string().max(500).optional() }),
  execute: ({ id }: { id: number }) => ({ closed: id }),
} as const;

describe('a tool name', () => {
  it('is lower-case words joined by dots', () => {
    for (const name of ['kb.read', 'http', 'a', 'db.write-2', 'x_1.y', '0day.scan', 'a'.repeat(64)]) {
      expect(ToolName.safeParse(name).success).toBe(true);
    }
  });

  it('[policy:unlisted-tool-is-forbidden] in any other spelling is no tool name', () => {
    for (const name of [
      'Kb.read',
      'kb.read ',
      ' kb.read',
      'kb.read\n',
      'kb..read',
      '.kb',
      'kb.',
      'kb read',
      'kb/read',
      'kb.rеad',
      'ｋｂ.read',
      'kb.read\u200b',
      '_kb',
      '__proto__',
      'constructor',
      'prototype',
      'kb.constructor',
      'toString',
      'hasOwnProperty',
      '',
      'a'.repeat(65),
    ]) {
      expect(ToolName.safeParse(name).success, JSON.stringify(name)).toBe(false);
    }
  });
});

describe('a tool', () => {
  it('is a write unless it says exactly that it reads', () => {
    const { effect: _, ...unsaid } = close;
    expect(defineTool(unsaid).effect).toBe('write');
    expect(defineTool({ ...close, effect: 'READ' as 'read' }).effect).toBe('write');
    expect(defineTool({ ...close, effect: 'read' }).effect).toBe('read');
  });

  it('takes its effect from the definition alone, whatever annotations claim', () => {
    const annotated = { ...close, annotations: { readOnlyHint: true }, readOnlyHint: true };
    expect(defineTool(annotated).effect).toBe('write');
  });

  it('has safe defaults', () => {
    expect(defineTool(close)).toMatchObject({
      irreversible: false,
      idempotent: false,
      scopeKeys: [],
      redact: [],
      timeout: 30_000,
    });
  });

  it('cannot be changed after it is defined', () => {
    const scopeKeys = ['account_id'];
    const tool = defineTool({ ...close, scopeKeys });
    scopeKeys.push('tenant_id');
    expect(tool.scopeKeys).toEqual(['account_id']);
    for (const part of [tool, tool.scopeKeys, tool.redact, tool.inputSchema])
      expect(Object.isFrozen(part)).toBe(true);
  });

  it('is refused where its definition is not usable, with the reason', () => {
    const { input: _, ...noInput } = close;
    const wrong: [spec: unknown, says: RegExp][] = [
      [{ ...close, name: 'Ticket.close' }, /"Ticket\.close".*lower-case/s],
      [{ ...close, description: '' }, /needs a description/],
      [{ ...close, timeout: 0 }, /timeout/],
      [{ ...close, redact: ['a..b'] }, /joined by dots/],
      [{ ...close, input: z.looseObject({}) }, /unknown arguments/],
      [{ ...close, input: z.object({}).catchall(z.string()) }, /unknown arguments/],
      [{ ...close, input: z.strictObject({ json: z.string() }) }, /called "json"/],
      [{ ...close, input: z.string() }, /z\.strictObject/],
      [noInput, /z\.strictObject/],
    ];
    for (const [spec, says] of wrong) {
      const define = () => defineTool(spec as typeof close);
      expect(define).toThrow(ToolDefinitionInvalid);
      expect(define).toThrow(says);
    }
  });

  it('judges its arguments once more when it runs, and gets a copy of its own', async () => {
    const seen: unknown[] = [];
    const tool = defineTool({
      ...close,
      execute: (args) => {
        seen.push(args);
        (args as { id: number }).id = 9;
      },
      preview: ({ id }) => `closes ${id}`,
    });
    const args = Object.freeze({ id: 1 });
    await tool.execute(args, run);
    expect(seen).toEqual([{ id: 9 }]);
    expect(args).toEqual({ id: 1 });
    expect(await tool.preview?.(args, run)).toBe('closes 1');
    await expect(tool.execute({ id: '1' }, run)).rejects.toThrow(z.ZodError);
    await expect(tool.execute({ id: 1, tenant_id: 'x' }, run)).rejects.toThrow(z.ZodError);
  });

  it('turns what execute throws into a rejection', async () => {
    const tool = defineTool({
      ...close,
      execute: () => {
        throw new Error('down');
      },
    });
    await expect(tool.execute({ id: 1 }, run)).rejects.toThrow('down');
  });

  it('[approval:bound-to-everything] has another digest as soon as anything about it changes', () => {
    const base = toolDigest(defineTool(close));
    const changed = [
      { ...close, name: 'ticket.close2' },
      { ...close, description: 'Closes a ticket!' },
      { ...close, effect: 'read' as const },
      { ...close, irreversible: true },
      { ...close, idempotent: true },
      { ...close, scopeKeys: ['account_id'] },
      { ...close, input: z.strictObject({ id: z.int(), note: z.string().max(501).optional() }) },
      { ...close, input: z.strictObject({ id: z.int(), note: z.string().max(500) }) },
      { ...close, input: z.strictObject({ id: z.int() }) },
    ].map((spec) => toolDigest(defineTool(spec as typeof close)));
    expect(new Set([base, ...changed]).size).toBe(changed.length + 1);
    expect(toolDigest(defineTool({ ...close, execute: () => 1, timeout: 5 }))).toBe(base);
  });
});

describe('the registry of tools', () => {
  const registry = new ToolRegistry([
    defineTool(close),
    defineTool({ ...close, name: 'kb.read', effect: 'read' }),
  ]);

  it('[policy:unlisted-tool-is-forbidden] finds exact names and nothing else', () => {
    expect(registry.names()).toEqual(['ticket.close', 'kb.read']);
    expect(registry.get('kb.read')?.effect).toBe('read');
    for (const name of [
      'KB.read',
      'kb.read ',
      'kb.rеad',
      '__proto__',
      'constructor',
      'toString',
      'size',
      '',
    ]) {
      expect(registry.get(name)).toBeUndefined();
    }
  });

  it('refuses two tools of one name', () => {
    expect(() => new ToolRegistry([defineTool(close), defineTool(close)])).toThrow(DuplicateTool);
  });
});

describe('what a tool returned', () => {
  it('is kept as canonical JSON, without undefined properties', () => {
    expect(resultFrom({ b: 1, a: { c: undefined, d: [] } })).toEqual({
      ok: true,
      json: '{"a":{"d":[]},"b":1}',
      truncated: false,
    });
    expect(resultFrom(undefined)).toEqual({ ok: true, json: 'null', truncated: false });
  });

  it('is cut at 64 KiB, says so, and stays JSON', () => {
    expect(resultFrom('a'.repeat(65_534))).toMatchObject({ ok: true, truncated: false });
    for (const text of ['a'.repeat(65_535), '"\\\u0001😀'.repeat(20_000)]) {
      const result = resultFrom({ text });
      expect(result).toMatchObject({ ok: true, truncated: true });
      expect(Buffer.byteLength(result.json)).toBeLessThanOrEqual(64 * 1024);
      expect(Buffer.byteLength(result.json)).toBeGreaterThan(64 * 1024 - 20);
      const { truncated, beginning } = JSON.parse(result.json);
      expect(truncated).toBe(true);
      expect(JSON.stringify({ text }).startsWith(beginning)).toBe(true);
    }
  });

  it('never throws where it is not JSON, and says what is wrong', () => {
    const hostile = {
      get secret() {
        throw new Error('boo');
      },
    };
    for (const value of [new Date(0), { at: 1n }, hostile, [() => 1], new Proxy({}, {})]) {
      const result = resultFrom(value);
      expect(result).toMatchObject({ ok: false, truncated: false });
      expect(JSON.parse(result.json).unreadable_result).toEqual(expect.any(String));
    }
  });
});
