import { beforeEach, expect, it } from 'vitest';
import type { AuditLog } from '../../src/core/audit/audit-log.ts';
import { newProposalId, shardOfTenant } from '../../src/core/proposal/proposal-id.ts';
import { testContext } from '../sealed-terms.ts';

/** The port's promises, run over every implementation. `make` gives an empty log. */
export function auditLogContract(make: () => Promise<{ audit: AuditLog; shards: number }>): void {
  let audit: AuditLog;
  let shards: number;
  beforeEach(async () => {
    ({ audit, shards } = await make());
  });
  const forbidden = (tenant: string | undefined, n: number) =>
    audit.append({ kind: 'call.forbidden', tenant, detail: { n } });
  const numbers = async (filter: Parameters<AuditLog['read']>[0]) =>
    (await audit.read(filter)).map((entry) => entry.detail.n);

  it('gives back what was appended, oldest first, counted from 1 in each tenant', async () => {
    for (const [n, tenant] of ['acme', 'globex', 'acme', undefined, 'acme'].entries())
      await forbidden(tenant, n);
    expect(await audit.read({ tenant: 'acme', limit: 10 })).toMatchObject([
      { seq: 1, kind: 'call.forbidden', tenant: 'acme', detail: { n: 0 } },
      { seq: 2, detail: { n: 2 } },
      { seq: 3, detail: { n: 4 } },
    ]);
    expect(await audit.read({ tenant: 'globex', limit: 10 })).toMatchObject([{ seq: 1, detail: { n: 1 } }]);
    expect(await audit.read({ tenant: '-', limit: 10 })).toMatchObject([
      { seq: 1, tenant: '-', detail: { n: 3 } },
    ]);
    const places = (await audit.read({ limit: 10 })).map((entry) => entry.place);
    expect(new Set(places).size).toBe(5);
  });

  it('gives the first or the newest, also where there are more than fit into one answer', async () => {
    await Promise.all(Array.from({ length: 1_203 }, (_, n) => forbidden('acme', n)));
    expect(await numbers({ tenant: 'acme', limit: 3 })).toEqual([0, 1, 2]);
    expect(await numbers({ tenant: 'acme', limit: 3, newest: true })).toEqual([1_200, 1_201, 1_202]);
    expect(await numbers({ limit: 5_000 })).toHaveLength(1_203);
    expect(await numbers({ limit: 5_000, newest: true })).toHaveLength(1_203);
  });

  it('finds what belongs to one proposal among the rest', async () => {
    const { tenant } = testContext();
    const proposal = newProposalId(shardOfTenant(tenant, shards), new Uint8Array(24));
    await Promise.all(Array.from({ length: 600 }, (_, n) => forbidden('acme', n)));
    await audit.append({ kind: 'decision.refused', tenant, proposal, detail: { refusal: 'guest' } });
    await forbidden('acme', 601);
    expect(await audit.read({ proposal, limit: 10 })).toMatchObject([{ kind: 'decision.refused', proposal }]);
    expect(await audit.read({ proposal, tenant: 'globex', limit: 10 })).toEqual([]);
  });

  it('gives a tenant that is none no count of its own, and tells what was claimed', async () => {
    for (const claimed of ['ACME', 'a:b', '{s0}', '__proto__', '', '-', '*', 'x'.repeat(100)]) {
      await audit.append({ kind: 'call.forbidden', tenant: claimed, detail: {} });
    }
    const entries = await audit.read({ tenant: '-', limit: 20 });
    expect(entries.map((entry) => entry.detail.claimedTenant)).toEqual([
      'ACME',
      'a:b',
      '{s0}',
      '__proto__',
      '',
      '-',
      '*',
      'x'.repeat(100),
    ]);
  });

  it('carries any text in the detail unharmed, on one line', async () => {
    const text = 'a\nb\u0000\u001b[31m\u202e \u{1f980} \ud800 "quoted" \\ </script>';
    await audit.append({
      kind: 'call.malformed',
      tenant: 'acme',
      detail: { text, nested: { list: [], none: null } },
    });
    const [entry] = await audit.read({ tenant: 'acme', limit: 1 });
    expect(entry?.detail).toEqual({ text, nested: { list: [], none: null } });
  });
}
