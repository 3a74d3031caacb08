import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { CredentialsUnavailable } from '../../src/core/execution/credentials.ts';
import { CredentialsFromEnv, CredentialVariablesInvalid } from '../../src/queue/credentials-from-env.ts';
import { CredentialsFromFiles } from '../../src/queue/credentials-from-files.ts';
import { credentialProviderOf } from '../../src/queue/credentials-of-config.ts';
import { credentialProviderContract, never, scopeOf } from './credential-provider.contract.ts';

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

/** @param files by their path inside the directory */
function directoryWith(files: Readonly<Record<string, string>>, mode = 0o600): string {
  const directory = mkdtempSync(join(tmpdir(), 'cs-credentials-'));
  directories.push(directory);
  for (const [name, content] of Object.entries(files)) {
    const path = join(directory, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    chmodSync(path, mode);
  }
  return directory;
}

const filesWith = (files: Readonly<Record<string, string>>, mode?: number) =>
  new CredentialsFromFiles(directoryWith(files, mode));

credentialProviderContract('from files', (held) =>
  filesWith(
    Object.fromEntries(
      held.map(({ tenant, environment, access, values }) => [
        `${tenant}/${environment}/${access}.json`,
        JSON.stringify(values),
      ]),
    ),
  ),
);

credentialProviderContract('from variables', (held) => {
  const variables = held.flatMap(({ tenant, environment, access, values }) =>
    Object.entries(values).map(([name, value]) => [
      `COUNTERSIGN_CRED_${[tenant, environment, access, name].join('__')}`.toUpperCase(),
      value,
    ]),
  );
  return new CredentialsFromEnv(Object.fromEntries(variables));
});

const closing = scopeOf('acme', 'production', 'write', 'ticket.close');

describe('a file of credentials', () => {
  it('for the tool itself wins over the one for all tools, whole', async () => {
    const provider = filesWith({
      'acme/production/write.json': '{"token":"general","user":"general"}',
      'acme/production/ticket.close.write.json': '{"token":"own"}',
    });
    expect((await provider.fetch(closing, never())).values).toEqual({ token: 'own' });
    const creating = scopeOf('acme', 'production', 'write', 'ticket.create');
    expect((await provider.fetch(creating, never())).get('token')).toBe('general');
  });

  it('for the tool itself that is broken is not passed over', async () => {
    const provider = filesWith({
      'acme/production/write.json': '{"token":"general"}',
      'acme/production/ticket.close.write.json': '{"token":',
    });
    await expect(provider.fetch(closing, never())).rejects.toThrow('ticket.close.write.json is not usable');
  });

  it.each([0o604, 0o644, 0o620, 0o602, 0o601])('that others can reach is refused: mode %o', async (mode) => {
    const provider = filesWith({ 'acme/production/write.json': '{"token":"s3cret"}' }, mode);
    const fetching = provider.fetch(closing, never());
    await expect(fetching).rejects.toThrow(CredentialsUnavailable);
    await expect(fetching).rejects.toThrow(`mode ${mode.toString(8)}`);
    await expect(fetching).rejects.not.toThrow('s3cret');
  });

  it.each([0o600, 0o400, 0o640, 0o440])(
    'for its owner, or a group that reads, is fine: mode %o',
    async (mode) => {
      const provider = filesWith({ 'acme/production/write.json': '{"token":"s3cret"}' }, mode);
      expect((await provider.fetch(closing, never())).get('token')).toBe('s3cret');
    },
  );

  it.each([
    ['no JSON', 's3cret'],
    ['a text', '"s3cret"'],
    ['a list', '["s3cret"]'],
    ['a number', '{"token":4711}'],
    ['an object inside', '{"token":{"s3cret":"x"}}'],
    ['an empty secret', '{"token":""}'],
    ['the same name twice', '{"token":"s3cret","token":"other"}'],
    ['__proto__', '{"__proto__":"s3cret"}'],
    ['too much', JSON.stringify({ token: 's3cret'.repeat(20_000) })],
  ])('that holds %s is refused, and not quoted', async (_what, content) => {
    const provider = filesWith({ 'acme/production/write.json': content });
    const error: unknown = await provider.fetch(closing, never()).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(CredentialsUnavailable);
    expect(String(error)).toContain('write.json');
    expect(String(error)).not.toContain('s3cret');
  });

  it('may change between two calls', async () => {
    const directory = directoryWith({ 'acme/production/write.json': '{"token":"old"}' });
    const provider = new CredentialsFromFiles(directory);
    expect((await provider.fetch(closing, never())).get('token')).toBe('old');
    writeFileSync(join(directory, 'acme/production/write.json'), '{"token":"new"}');
    expect((await provider.fetch(closing, never())).get('token')).toBe('new');
  });

  it('is no directory, and there may be none at all', async () => {
    const provider = filesWith({ 'acme/production/write.json/x': '' });
    await expect(provider.fetch(closing, never())).rejects.toThrow(CredentialsUnavailable);
    const nowhere = new CredentialsFromFiles('/nonexistent/countersign');
    await expect(nowhere.fetch(closing, never())).rejects.toThrow(
      'write them into /nonexistent/countersign/acme',
    );
  });
});

describe('the provider that a process is configured with', () => {
  const variables = { reveal: () => ({ COUNTERSIGN_CRED_ACME__PRODUCTION__WRITE__TOKEN: 'variable' }) };

  it('reads the directory where there is one, and nothing else then', async () => {
    const directory = directoryWith({ 'acme/staging/write.json': '{"token":"file"}' });
    const provider = credentialProviderOf({ directory, variables });
    expect((await provider.fetch(scopeOf('acme', 'staging', 'write'), never())).get('token')).toBe('file');
    await expect(provider.fetch(closing, never())).rejects.toThrow(CredentialsUnavailable);
  });

  it('reads variables without a directory, and has none without either', async () => {
    const some = credentialProviderOf({ directory: undefined, variables });
    expect((await some.fetch(closing, never())).get('token')).toBe('variable');
    const none = credentialProviderOf({ directory: undefined, variables: { reveal: () => ({}) } });
    await expect(none.fetch(closing, never())).rejects.toThrow(CredentialsUnavailable);
  });
});

describe('variables of credentials', () => {
  it.each([
    'COUNTERSIGN_CRED_ACME__PRODUCTION__TOKEN',
    'COUNTERSIGN_CRED_ACME__PRODUCTION__ADMIN__TOKEN',
    'COUNTERSIGN_CRED_acme__production__WRITE__TOKEN',
    'COUNTERSIGN_CRED___PRODUCTION__WRITE__TOKEN',
    'COUNTERSIGN_CRED_ACME___PRODUCTION__WRITE__TOKEN',
    'COUNTERSIGN_CRED_ACME__PRODUCTION__WRITE__',
  ])('whose name is none are named at once: %s', (name) => {
    expect(() => new CredentialsFromEnv({ [name]: 's3cret' })).toThrow(CredentialVariablesInvalid);
    expect(() => new CredentialsFromEnv({ [name]: 's3cret' })).toThrow(name);
    expect(() => new CredentialsFromEnv({ [name]: 's3cret' })).not.toThrow('s3cret');
  });

  it('that are empty are none', async () => {
    const provider = new CredentialsFromEnv({ COUNTERSIGN_CRED_ACME__PRODUCTION__WRITE__TOKEN: '' });
    await expect(provider.fetch(closing, never())).rejects.toThrow(CredentialsUnavailable);
  });

  it('[execution:credentials-at-the-boundary] are never shared by two tenants whose names differ in a dash', async () => {
    const provider = new CredentialsFromEnv({
      COUNTERSIGN_CRED_ACME_EU__PRODUCTION__WRITE__TOKEN: 'eu',
      COUNTERSIGN_CRED_A__B__WRITE__TOKEN: 'b',
    });
    expect((await provider.fetch(scopeOf('acme-eu', 'production', 'write'), never())).get('token')).toBe(
      'eu',
    );
    for (const tenant of ['acme_eu', 'acme--eu', 'acme-eu-', 'acme-eu_']) {
      await expect(provider.fetch(scopeOf(tenant, 'production', 'write'), never())).rejects.toThrow(
        'keep them in files',
      );
    }
    await expect(provider.fetch(scopeOf('a', 'b_', 'write'), never())).rejects.toThrow('keep them in files');
  });
});
