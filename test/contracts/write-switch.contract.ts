import { beforeEach, describe, expect, it } from 'vitest';
import { TenantId } from '../../src/core/identity/ids.ts';
import { scopeKeysCovering, scopeOfKey } from '../../src/core/switch/scope.ts';
import type { WriteSwitch } from '../../src/core/switch/write-switch.ts';
import { signedDecision, testContext } from '../sealed-terms.ts';
import {
  admitted,
  approved,
  armed,
  askFor,
  freshTerms,
  haltedBy,
  OPERATOR,
  proposed,
  ROOMY,
  type Stores,
} from './proposal-store.contract.ts';

const TOOL = 'ticket.close';
const acme = testContext();

/** The port's promises, run over every implementation. `make` gives empty stores, never armed. */
export function writeSwitchContract(make: () => Promise<Stores>): void {
  let stores: Stores;
  let writeSwitch: WriteSwitch;
  beforeEach(async () => {
    stores = await make();
    writeSwitch = stores.writeSwitch;
  });
  const stateFor = async (context = acme, tool = TOOL) => (await writeSwitch.read(context, tool)).writes;
  const epochNow = async () => (await writeSwitch.status()).epoch;
  const on = async (scope = {}, expectedEpoch?: number) =>
    writeSwitch.on({ scope, by: OPERATOR, why: 'over', expectedEpoch: expectedEpoch ?? (await epochNow()) });

  it('[switch:fails-closed] is closed until somebody arms it', async () => {
    expect(await stateFor()).toEqual({ state: 'closed', why: 'never_armed' });
    expect(await writeSwitch.status()).toMatchObject({ state: 'closed', epoch: 0, last: undefined, off: [] });
    expect(await writeSwitch.renewPermits()).toEqual({
      renewed: 0,
      off: stores.shards,
      forgotten: 0,
      failed: 0,
    });
    expect(await stateFor()).toEqual({ state: 'closed', why: 'never_armed' });
    const sealed = await freshTerms(stores);
    expect(await stores.store.create(sealed, ROOMY)).toEqual({ created: 'writes_off', entry: undefined });
  });

  it('opens with the first arming, and says who, why and since when', async () => {
    expect(await on({}, 0)).toMatchObject({ ok: true });
    expect(await stateFor()).toEqual({ state: 'on' });
    expect(await writeSwitch.status()).toMatchObject({
      state: 'on',
      shards: stores.shards,
      answered: stores.shards,
      last: { by: OPERATOR, why: 'over' },
    });
    expect(await writeSwitch.renewPermits()).toEqual({
      renewed: stores.shards,
      off: 0,
      forgotten: 0,
      failed: 0,
    });
  });

  it('goes off in one word, with or without a reason, and more than once', async () => {
    await armed(stores);
    const first = await writeSwitch.off({ scope: {}, by: OPERATOR });
    expect(first).toMatchObject({ confirmed: true, shards: stores.shards, confirmedShards: stores.shards });
    expect(await stateFor()).toMatchObject({
      state: 'off',
      entry: { by: OPERATOR, scope: {}, since: first.since },
    });
    const second = await writeSwitch.off({ scope: {}, by: OPERATOR, why: 'really', forMs: 7_200_000 });
    expect(second.epoch).toBeGreaterThan(first.epoch);
    const { writes } = await writeSwitch.read(acme, TOOL);
    expect(writes).toMatchObject({ entry: { why: 'really', until: second.since + 7_200_000 } });
    expect(await writeSwitch.renewPermits()).toEqual({
      renewed: 0,
      off: stores.shards,
      forgotten: 0,
      failed: 0,
    });
  });

  it('can be turned off before it was ever on, and is on only by the word of an operator', async () => {
    await writeSwitch.off({ scope: {}, by: OPERATOR });
    expect(await stateFor()).toMatchObject({ state: 'off' });
    expect(await on()).toMatchObject({ ok: true });
    expect(await stateFor()).toEqual({ state: 'on' });
  });

  it('comes on only for whoever saw the latest epoch, and of two who saw it for one', async () => {
    await armed(stores);
    const seen = await epochNow();
    const { epoch } = await writeSwitch.off({ scope: {}, by: OPERATOR });
    expect(await on({}, seen)).toEqual({ ok: false, refusal: 'epoch_moved', epoch });
    const answers = await Promise.all([on({}, epoch), on({}, epoch)]);
    expect(answers.filter((answer) => answer.ok)).toHaveLength(1);
    expect(await on()).toEqual({ ok: false, refusal: 'not_off' });
  });

  it('turns on what it names; other scopes stay off and are told', async () => {
    await armed(stores);
    await writeSwitch.off({ scope: scopeOfKey('tenant=acme'), by: OPERATOR, why: 'acme first' });
    await writeSwitch.off({ scope: {}, by: OPERATOR, why: 'then all' });
    expect(await on()).toMatchObject({ ok: true });
    expect(await stateFor()).toMatchObject({ state: 'off', entry: { why: 'acme first' } });
    expect(await stateFor(testContext({ tenant: 'globex' }))).toEqual({ state: 'on' });
    expect(await writeSwitch.status()).toMatchObject({ state: 'on', off: [{ scope: { tenant: 'acme' } }] });
    expect(await on(scopeOfKey('tenant=globex'))).toEqual({ ok: false, refusal: 'not_off' });
    expect(await on(scopeOfKey('tenant=acme'))).toMatchObject({ ok: true });
    expect(await stateFor()).toEqual({ state: 'on' });
  });

  it.each(scopeKeysCovering(acme, TOOL))(
    'off for %s stops the call that it covers, at every step',
    async (key) => {
      await armed(stores);
      const pending = await proposed(stores, { rule: { quorum: 2 } });
      const ready = await approved(stores);
      const answer = await writeSwitch.off({ scope: scopeOfKey(key), by: OPERATOR });
      expect(await haltedBy(answer)).toEqual([pending.terms.id, ready.terms.id].sort());
      expect(await stateFor()).toMatchObject({ state: 'off' });
      expect((await stores.store.create(await freshTerms(stores), ROOMY)).created).toBe('writes_off');
      expect((await stores.store.decide(signedDecision(pending, 'approve'))).ok).toBe(false);
      expect((await stores.store.admit(askFor(ready))).ok).toBe(false);
      const beside = testContext({ tenant: 'globex', environment: 'staging', agent: 'other-bot' });
      expect(await stateFor(beside, 'email.send')).toMatchObject({ state: key === '*' ? 'off' : 'on' });
    },
  );

  it('[switch:off-then-on-resurrects-nothing] off and on of one scope kills what was asked before, there and nowhere else', async () => {
    await armed(stores);
    const inside = await approved(stores);
    const beside = await approved(stores, { tool: 'email.send' });
    const scope = scopeOfKey(`tool=${TOOL}`);
    const stale = await freshTerms(stores);
    await writeSwitch.off({ scope, by: OPERATOR });
    expect(await on(scope)).toMatchObject({ ok: true });
    expect((await stores.store.admit(askFor(inside))).ok).toBe(false);
    expect((await stores.store.admit(askFor(beside))).ok).toBe(true);
    expect(await stores.store.create(stale, ROOMY)).toEqual({ created: 'stale_terms' });
  });

  it('counts what is open, for all and for one tenant', async () => {
    await armed(stores);
    await proposed(stores);
    await approved(stores);
    await admitted(stores);
    await proposed(stores, { context: { tenant: 'globex' } });
    expect(await writeSwitch.status()).toMatchObject({ pending: 2, approved: 1, executing: 1 });
    expect(await writeSwitch.status(TenantId.parse('globex'))).toMatchObject({
      pending: 1,
      approved: 0,
      executing: 0,
    });
  });

  it('halts more than fits into one batch, and says each of them', async () => {
    await armed(stores);
    const all = await Promise.all(Array.from({ length: 450 }, () => proposed(stores)));
    const beside = await proposed(stores, { context: { agent: 'other-bot' } });
    const answer = await writeSwitch.off({ scope: scopeOfKey('agent=support-bot'), by: OPERATOR });
    expect(await haltedBy(answer)).toEqual(all.map(({ terms }) => terms.id).sort());
    expect(await stores.store.pending({ limit: 10 })).toEqual([beside.terms.id]);
  });

  describe('in the audit', () => {
    it('[audit:every-transition] each flip leaves who, what and why', async () => {
      await armed(stores);
      await writeSwitch.off({ scope: {}, by: 'cli:ana', why: 'looks wrong' });
      await writeSwitch.off({ scope: scopeOfKey('tenant=acme'), by: 'cli:ben' });
      const all = await stores.audit.read({ tenant: '-', limit: 100 });
      const offs = all.filter(({ kind, detail }) => kind === 'switch.off' && detail.scope === '*');
      expect(offs).toHaveLength(stores.shards);
      expect(offs[0]?.detail).toMatchObject({ by: 'cli:ana', why: 'looks wrong' });
      expect(all.filter(({ kind }) => kind === 'switch.on')).toHaveLength(stores.shards);
      const acmes = await stores.audit.read({ tenant: 'acme', limit: 100 });
      expect(acmes).toMatchObject([
        { kind: 'switch.off', seq: 1, detail: { scope: 'tenant=acme', by: 'cli:ben' } },
      ]);
    });
  });
}
