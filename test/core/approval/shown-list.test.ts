import { describe, expect, it } from 'vitest';
import { listDigest, openList, type ShownList, sealList } from '../../../src/core/approval/shown-list.ts';
import { AgentId, TenantId } from '../../../src/core/identity/ids.ts';
import { ANA, BEN, newTestKeys, sealedTerms, testKeys } from '../../sealed-terms.ts';

const ids = Array.from({ length: 3 }, () => sealedTerms({ now: 1_000_000, epoch: 1 }).terms.id);
const list: ShownList = {
  v: 1,
  for: 'deny',
  tenant: TenantId.parse('acme'),
  agent: AgentId.parse('support-bot'),
  person: ANA,
  ids,
  shown: listDigest(['a', 'b', 'c']),
};
const sealed = sealList(testKeys.approvalPrivate, list);
const open = (text: string) => openList([testKeys.approvalPublic], text);

describe('what one person was shown together', () => {
  it('comes back as it went out', () => {
    expect(open(sealed)).toEqual(list);
    const paged = { ...list, page: 4 };
    expect(open(sealList(testKeys.approvalPrivate, paged))).toEqual(paged);
  });

  it.each<[string, Partial<ShownList>]>([
    ['another id', { ids: [...ids.slice(1), sealedTerms({ now: 1_000_000, epoch: 1 }).terms.id] }],
    ['one id less', { ids: ids.slice(1) }],
    ['another order', { ids: ids.toReversed() }],
    ['another decision', { for: 'approve' }],
    ['another person', { person: BEN }],
    ['another drawing', { shown: listDigest(['a', 'b', 'd']) }],
    ['another page', { page: 1 }],
    ['another tenant', { tenant: TenantId.parse('globex') }],
  ])('is none of ours with %s', (_, changed) => {
    const text = JSON.stringify({ ...JSON.parse(sealed), list: { ...list, ...changed } });
    expect(open(text)).toBeUndefined();
  });

  it('is none of ours under another key, cut, or with more in it', () => {
    expect(openList([newTestKeys().approvalPublic], sealed)).toBeUndefined();
    for (const text of ['', '{}', sealed.slice(0, -3), `${sealed} `.replace('{', '{"more":1,')]) {
      expect(open(text)).toBeUndefined();
    }
  });

  it('tells lists apart whose calls were drawn the same in another grouping', () => {
    expect(listDigest(['a', 'b'])).not.toBe(listDigest(['ab']));
    expect(listDigest(['a', 'b'])).not.toBe(listDigest(['b', 'a']));
  });
});
