import { expect, it } from 'vitest';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { ACTIONS } from '../../src/slack/card.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { surfaceForTests } from '../slack/surface-for-tests.ts';

/** The job is a reminder to look. Woken before there is anything to see, it sleeps on until the deadline. */

const redis = redisForTests();
const seen: [ProposalId, string | undefined][] = [];
const world = surfaceForTests('socket', redis, {
  adjust: (parts) => {
    const { store, dispatch } = parts;
    return {
      ...parts,
      dispatch: {
        schedule: (id, delayMs) => dispatch.schedule(id, delayMs),
        wake: async (id) => {
          seen.push([id, (await store.read(id))?.state.status]);
          await dispatch.wake(id);
        },
      },
    };
  },
});

it('the job is woken only once the decision is written', async () => {
  const { sealed, message } = await world.card();
  const { id } = sealed.terms;
  await world.person('U0ANA').click(message, ACTIONS.approve);
  await expect.poll(() => world.status(id)).toBe('approved');
  await expect.poll(() => seen.length).toBeGreaterThan(0);
  expect(new Set(seen.map(([woken, status]) => `${woken} ${status}`))).toEqual(new Set([`${id} approved`]));
});
