import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import {
  type CredentialProvider,
  type CredentialScope,
  CredentialsUnavailable,
} from '../../src/core/execution/credentials.ts';
import { EnvironmentId, TenantId } from '../../src/core/identity/ids.ts';
import { ToolName } from '../../src/core/tool/tool-name.ts';

export interface Held {
  readonly tenant: string;
  readonly environment: string;
  readonly access: 'read' | 'write';
  readonly values: Readonly<Record<string, string>>;
}

export const never = (): AbortSignal => new AbortController().signal;

export function scopeOf(
  tenant: string,
  environment: string,
  access: 'read' | 'write',
  tool = 'ticket.close',
) {
  return {
    tenant: TenantId.parse(tenant),
    environment: EnvironmentId.parse(environment),
    tool: ToolName.parse(tool),
    access,
  };
}

const HELD: readonly Held[] = [
  { tenant: 'acme', environment: 'production', access: 'write', values: { token: 'acme-production-write' } },
  { tenant: 'acme', environment: 'production', access: 'read', values: { token: 'acme-production-read' } },
  { tenant: 'acme', environment: 'staging', access: 'write', values: { token: 'acme-staging-write' } },
  {
    tenant: 'globex',
    environment: 'production',
    access: 'write',
    values: { token: 'g', api_key: 'globex-key' },
  },
];

/** What every provider of credentials must do, whatever it keeps them in. */
export function credentialProviderContract(
  name: string,
  holding: (held: readonly Held[]) => CredentialProvider | Promise<CredentialProvider>,
): void {
  describe(`credentials ${name}`, () => {
    it('[execution:credentials-at-the-boundary] are those of exactly the scope that is asked for', async () => {
      const provider = await holding(HELD);
      for (const { tenant, environment, access, values } of HELD) {
        const credentials = await provider.fetch(scopeOf(tenant, environment, access), never());
        expect(credentials.values).toEqual(values);
      }
    });

    it.each([
      ['another tenant', scopeOf('initech', 'production', 'write')],
      ['another environment', scopeOf('globex', 'staging', 'write')],
      ['another access: write is not read', scopeOf('globex', 'production', 'read')],
      ['a tenant whose name begins alike', scopeOf('acm', 'production', 'write')],
      ['a tenant whose name goes on', scopeOf('acme-eu', 'production', 'write')],
      ['an environment whose name begins alike', scopeOf('acme', 'prod', 'write')],
    ])(
      '[execution:credentials-at-the-boundary] are never those of another scope: %s',
      async (_what, scope) => {
        const provider = await holding(HELD);
        await expect(provider.fetch(scope, never())).rejects.toThrow(CredentialsUnavailable);
        await expect(provider.fetch(scope, never())).rejects.toThrow(
          `${scope.tenant} in ${scope.environment}`,
        );
      },
    );

    it.each([
      ['a tenant that climbs', { tenant: 'globex/../acme' }],
      ['an environment that climbs', { environment: 'staging/../production' }],
      ['no tenant', { tenant: '' }],
      ['no environment', { environment: '' }],
      ['a place for tenant and environment', { tenant: 'acme/production', environment: '.' }],
      ['a tenant in capitals', { tenant: 'ACME' }],
      ['a prototype name', { tenant: '__proto__' }],
    ])('have no default and obey no unparsed id: %s', async (_what, change) => {
      const provider = await holding(HELD);
      const scope = { ...scopeOf('acme', 'production', 'write'), ...change } as CredentialScope;
      await expect(provider.fetch(scope, never())).rejects.toThrow(CredentialsUnavailable);
    });

    it('show nothing of themselves when printed', async () => {
      const provider = await holding(HELD);
      const credentials = await provider.fetch(scopeOf('acme', 'production', 'write'), never());
      for (const text of [
        inspect(provider, { depth: 9 }),
        inspect(credentials),
        JSON.stringify({ provider, credentials }),
      ]) {
        expect(text).not.toContain('acme-production-write');
      }
    });

    it('are not fetched for a call that has been given up', async () => {
      const provider = await holding(HELD);
      const scope = scopeOf('acme', 'production', 'write');
      await expect(provider.fetch(scope, AbortSignal.abort(new Error('given up')))).rejects.toThrow(
        'given up',
      );
    });
  });
}
