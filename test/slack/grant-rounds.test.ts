import { pino } from 'pino';
import { expect, it } from 'vitest';
import { TenantId } from '../../src/core/identity/ids.ts';
import { StoreUnavailable } from '../../src/core/proposal/proposal-store.ts';
import { GrantPublisher, type GrantPublisherParts } from '../../src/slack/grant-publisher.ts';

it('a shard whose node is away is waited for once a round, beside the others, and said once', async () => {
  const tenants = ['a0', 'a1', 'a2', 'b0', 'b1'].map((name) => TenantId.parse(name));
  const asked: string[] = [];
  const logged: string[] = [];
  let rounds = 0;
  let othersAsked = () => {};
  const others = new Promise<void>((resolve) => {
    othersAsked = resolve;
  });
  const grants: Pick<GrantPublisherParts['grants'], 'shardOf' | 'voidSwitchedOff' | 'open' | 'claimCards'> = {
    shardOf: (tenant) => (tenant.startsWith('a') ? 0 : 1),
    voidSwitchedOff: async () => 0,
    open: async () => [],
    claimCards: async (tenant) => {
      asked.push(tenant);
      if (tenant === 'b1') othersAsked();
      if (tenant === 'a0') {
        await others;
        rounds += 1;
        throw new StoreUnavailable('away');
      }
      return [];
    },
  };
  let mark = () => {};
  const publisher = new GrantPublisher({
    grants,
    outbox: {
      onMarked: async (callback: () => void) => {
        mark = callback;
        return async () => {};
      },
    },
    tenants: () => tenants,
    placeOf: () => undefined,
    logger: pino({ level: 'info' }, { write: (line: string) => void logged.push(line) }),
  } as unknown as GrantPublisherParts);
  await publisher.start();
  for (const round of [1, 2, 3]) {
    await expect.poll(() => rounds).toBeGreaterThanOrEqual(round);
    mark();
  }
  await publisher.stop();
  expect(new Set(asked)).toEqual(new Set(['a0', 'b0', 'b1']));
  expect(logged).toHaveLength(1);
});
