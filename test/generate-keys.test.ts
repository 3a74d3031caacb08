import { describe, expect, it } from 'vitest';
import { readConfig } from '../src/config.ts';
import { generateKeys, KEY_KINDS, keyLines } from '../src/generate-keys.ts';

const variablesIn = (lines: readonly string[]) =>
  Object.fromEntries(
    lines
      .filter((line) => !line.startsWith('#'))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );

describe('generated keys', () => {
  it('are what the parts take, each line after who may have it', () => {
    const lines = keyLines(generateKeys());
    const { COUNTERSIGN_AUDIT_PUBLIC_KEY: _, ...variables } = variablesIn(lines);
    const given = {
      ...variables,
      REDIS_URL: '/run/redis.sock',
      COUNTERSIGN_TOOLS: './tools.js',
      SLACK_CLIENT_ID: '1.2',
      SLACK_CLIENT_SECRET: 'secret-secret',
      SLACK_APP_TOKEN: 'xapp-1',
      COUNTERSIGN_AUDIT_DIR: '/var/lib/audit',
    };
    expect(readConfig(given, 'start')).toMatchObject({ ok: true });
    for (const [at, line] of lines.entries()) expect(line.startsWith('#')).toBe(at % 2 === 0);
    expect(keyLines(generateKeys())).not.toEqual(lines);
  });

  it('are made of one kind alone, so that the others stay as they are', () => {
    const names = (kind: (typeof KEY_KINDS)[number]) =>
      Object.keys(variablesIn(keyLines(generateKeys(), [kind])));
    expect(KEY_KINDS.map(names)).toEqual([
      ['COUNTERSIGN_PROPOSAL_KEY'],
      ['COUNTERSIGN_APPROVAL_PRIVATE_KEY', 'COUNTERSIGN_APPROVAL_PUBLIC_KEY'],
      ['COUNTERSIGN_TOKEN_KEY'],
      ['COUNTERSIGN_AUDIT_PRIVATE_KEY', 'COUNTERSIGN_AUDIT_PUBLIC_KEY'],
    ]);
  });
});
