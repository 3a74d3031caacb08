import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';

const Compose = z.looseObject({
  services: z.record(
    z.string(),
    z.looseObject({ volumes: z.array(z.string()).optional(), env_file: z.array(z.string()).optional() }),
  ),
});

it('docker-compose.yml shows no part the secrets of another', () => {
  const file = readFileSync(join(import.meta.dirname, '..', '..', 'docker-compose.yml'), 'utf8');
  const { approvals, executor } = Compose.parse(parse(file)).services;
  expect(approvals?.env_file).toEqual(['.env']);
  expect(executor?.env_file).toEqual(['.env.executor']);
  // The whole directory would bring every .env file and every credential with it.
  for (const part of [approvals, executor])
    expect(part?.volumes?.some((volume) => /^\.\/?:/.test(volume))).toBe(false);
  expect(approvals?.volumes?.some((volume) => volume.includes('credentials'))).toBe(false);
  // Whoever holds the executor must not be able to rewrite what it did.
  expect(approvals?.volumes).toContain('audit:/var/lib/countersign');
  expect(executor?.volumes?.some((volume) => volume.includes('audit'))).toBe(false);
});
