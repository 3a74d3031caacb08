import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verifyAudit } from '../../src/audit-files/verify.ts';
import { auditKeyId, auditPublicKeyOf } from '../../src/core/audit/checkpoint.ts';
import type { ProposalRecord } from '../../src/core/proposal/proposal.ts';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import type { Faults } from '../../src/sandbox/slack/faults.ts';
import type { SeenMessage } from '../../src/sandbox/slack/person-interface.ts';
import { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import { ACTIONS } from '../../src/slack/card.ts';
import { redisForTests } from '../redis-for-tests.ts';
import {
  CHANNEL,
  CONTEXT,
  type LedgerInstallation,
  startLedgerInstallation,
} from '../scenarios/ledger-installation.ts';
import { surfaceForTests } from '../slack/surface-for-tests.ts';
import { ledgerPolicy } from './ledger-policy.ts';
import { expectWell, health, readiness } from './part-health.ts';
import { type Tally, tally } from './tally.ts';

/**
 * Slack fails in each way that it has, while an agent proposes, people decide and operators flip, all of them processes.
 * People are people: what did not work for them they do again once it works.
 */

const POLICY = ledgerPolicy({ expiresIn: '1h', startWithin: '30m' });

/** Of one round: each shows itself as a card of its own, at Slack's one message a second. */
const CALLS = 4;
const WAIT = { timeout: 180_000, interval: 100 };

interface Fault {
  readonly name: string;
  readonly modes: readonly ('socket' | 'http')[];
  /** Begins one batch of it, and says how many faults that is; called again until the people are through. */
  readonly again: (faults: Faults) => number;
  readonly everyMs: number;
  /** How long the fault goes on before Slack works again. */
  readonly forMs: number;
  /** What is said meanwhile of Slack, in Socket Mode; over HTTP it is Slack that connects. By default that it is there. */
  readonly slack?: 'away' | 'now there, now away';
}

const EITHER = ['socket', 'http'] as const;
const down = (faults: Faults) => {
  faults.downFor(12_000);
  return 1;
};
const unavailable = (faults: Faults) => {
  faults.unavailable(4);
  return 4;
};
const FAULTS: readonly Fault[] = [
  // A minute, shortened: longer than any of our own time limits towards Slack, and than a permit's life.
  { name: 'down', modes: EITHER, everyMs: 60_000, forMs: 12_000, again: down, slack: 'away' },
  {
    name: 'down and up again every second',
    modes: EITHER,
    slack: 'now there, now away',
    everyMs: 1_200,
    forMs: 10_000,
    again: (f) => {
      f.downFor(400);
      return 1;
    },
  },
  {
    name: '429 storm',
    modes: EITHER,
    everyMs: 1_500,
    forMs: 10_000,
    again: (f) => {
      f.rateLimit(1_000);
      return 1;
    },
  },
  {
    name: '429 for posts and updates',
    modes: EITHER,
    everyMs: 2_500,
    forMs: 10_000,
    again: (f) => {
      f.rateLimit(2_000, 'chat.postMessage');
      f.rateLimit(2_000, 'chat.update');
      return 2;
    },
  },
  {
    name: 'replies lost',
    modes: EITHER,
    everyMs: 1_000,
    forMs: 8_000,
    again: (f) => {
      const methods = ['chat.postMessage', 'chat.update', 'chat.update', 'views.open', 'users.info'];
      for (const method of methods) f.loseReply(method);
      return methods.length;
    },
  },
  { name: '503', modes: EITHER, everyMs: 800, forMs: 8_000, again: unavailable },
  {
    name: 'sockets refreshed',
    modes: ['socket'],
    slack: 'now there, now away',
    everyMs: 2_000,
    forMs: 16_000,
    again: (f) => {
      f.refreshSockets();
      return 1;
    },
  },
  {
    name: 'sockets cut',
    modes: ['socket'],
    slack: 'now there, now away',
    everyMs: 1_500,
    forMs: 12_000,
    again: (f) => {
      f.dropSockets();
      return 1;
    },
  },
  {
    name: 'delivered twice',
    modes: EITHER,
    everyMs: 500,
    forMs: 6_000,
    again: (f) => {
      f.deliverTwice(4);
      return 4;
    },
  },
  {
    name: 'delivered late, after the person was told that it failed',
    modes: EITHER,
    everyMs: 2_000,
    forMs: 8_000,
    again: (f) => {
      f.deliverLate(5_000, 2);
      return 2;
    },
  },
];

describe.each(EITHER)('Slack fails, in %s mode', (mode) => {
  let world: LedgerInstallation;
  let people: readonly SlackPerson[];
  let acknowledged = 0;
  beforeAll(async () => {
    world = await startLedgerInstallation(mode, POLICY, { answering: true });
    world.letGo();
    people = ['U0ANA', 'U0BEN'].map((user) => new SlackPerson(world.slack.url, { team: 'T0ACME', user }));
  });
  afterAll(() => world?.stop());

  const faults = FAULTS.filter(({ modes }) => modes.includes(mode));
  it.each(faults.flatMap((fault) => [fault, fault].map((each, round) => [each.name, round, each] as const)))(
    '%s, round %i',
    async (name, round, fault) => {
      const row = tally(`Slack: ${name}`);
      const injecting = new AbortController();
      const injected = inject(fault, world.slack.faults, injecting.signal, row);
      await saysOf(mode === 'socket' ? fault.slack : undefined, world);
      const proposed = Array.from({ length: CALLS }, (_, i) => `${mode} ${name} ${round} ${i}`);
      const calls = await propose(world, proposed);
      const deciding = new Deciding(world, people, calls);
      const until = performance.now() + fault.forMs;
      while (performance.now() < until) {
        await deciding.round();
        // Half of the rounds: somebody stops everything in the middle of it, and it is turned on again.
        if (round === 1 && performance.now() > until - fault.forMs / 2 && !deciding.flipped) {
          await deciding.flip();
        }
        await sleep(250);
      }
      injecting.abort();
      await injected;
      world.slack.faults.clear();

      const records = await deciding.untilSettled(row);
      await expectWell(world.approvals, world.executor);
      expect(await deciding.held(records, row)).toEqual([]);
      expect(await deciding.cardsRight(records, row)).toEqual([]);
      expect(runTwice(world.ledger(), row)).toEqual([]);
      acknowledged += deciding.acknowledged;
    },
  );

  it('and the audit verifies', async () => {
    // Else nothing was there to be lost.
    expect(acknowledged).toBeGreaterThanOrEqual(faults.length * CALLS);
    await world.approvals.stop();
    const key = auditPublicKeyOf(world.keys.COUNTERSIGN_AUDIT_PUBLIC_KEY);
    const report = verifyAudit(world.auditDirectory, { keys: new Map([[auditKeyId(key), key]]) });
    for (const { name } of faults) tally(`Slack: ${name}`).audit(report.verdict === 'intact');
    expect(report).toMatchObject({ verdict: 'intact' });
  });
});

describe('a click that Slack brings six minutes late, by its own clock', () => {
  let ahead = 0;
  const redis = redisForTests();
  const t = surfaceForTests('socket', redis, { now: () => Date.now() + ahead });
  const LATE_MS = 6 * 60_000;
  const row = tally('Slack: a click six minutes late');

  /** The person is told that it did not work, and six minutes later the app has it all the same. */
  async function clickLate(message: SeenMessage, meanwhile: () => Promise<unknown>): Promise<void> {
    t.slack.faults.deliverLate(LATE_MS, 1);
    const clicked = t.person('U0ANA').click(message, ACTIONS.approve);
    await expect.poll(() => t.slack.faults.active()).toEqual([]);
    row.injected();
    ahead += 4_000;
    expect(await clicked).toMatchObject({ ok: false });
    await meanwhile();
    ahead += LATE_MS;
  }

  it('counts, once, where it still asks', async () => {
    const { sealed, message } = await t.card();
    await clickLate(message, async () => expect(await t.status(sealed.terms.id)).toBe('pending'));
    await expect.poll(() => t.status(sealed.terms.id)).toBe('approved');
    expect(await t.entries('decision.approve')).toHaveLength(1);
  });

  it('counts for nothing where somebody has denied it meanwhile, and is answered', async () => {
    const { sealed, message } = await t.card();
    await clickLate(message, async () => {
      const ben = t.person('U0BEN');
      await ben.click(message, ACTIONS.deny);
      await ben.submit(await ben.waitForView(), { cs_reason: 'no' });
      await expect.poll(() => t.status(sealed.terms.id)).toBe('denied');
    });
    await expect.poll(() => t.refusals()).toEqual(['already_settled']);
    expect(await t.status(sealed.terms.id)).toBe('denied');
  });

  it('counts for nothing where writes were off meanwhile, though they are on again', async () => {
    const { sealed, message } = await t.card();
    await clickLate(message, async () => {
      await t.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test', why: 'look' });
      const { epoch } = await t.writeSwitch.status();
      const by = { by: 'cli:test', why: 'looked' } as const;
      await t.writeSwitch.on({ scope: EVERYTHING, ...by, expectedEpoch: epoch });
    });
    await expect.poll(() => t.refusals()).toEqual(['already_settled']);
    expect(await t.status(sealed.terms.id)).toBe('halted');
  });
});

/** While the fault goes on. Executors need no Slack. */
async function saysOf(slack: Fault['slack'], { approvals, executor }: LedgerInstallation): Promise<void> {
  if (slack === 'away') {
    await expect
      .poll(() => health(approvals), WAIT)
      .toMatchObject({ status: 'failing', slack: { ok: false }, redis: { ok: true } });
    await expect.poll(() => readiness(approvals), WAIT).toBe(503);
  }
  if (slack === undefined) {
    await expect
      .poll(() => health(approvals), WAIT)
      .toMatchObject({ status: expect.stringMatching(/^(ok|warning)$/), slack: { ok: true } });
    await expect.poll(() => readiness(approvals), WAIT).toBe(200);
  }
  await expectWell(executor);
}

async function inject(fault: Fault, faults: Faults, signal: AbortSignal, row: Tally): Promise<void> {
  while (!signal.aborted) {
    row.injected(fault.again(faults));
    await sleep(fault.everyMs, undefined, { signal }).catch(() => {});
  }
}

interface Call {
  readonly id: ProposalId;
  readonly entry: string;
  /** What people want of it. */
  readonly wish: 'approve' | 'deny';
}

/** The agent needs no Slack to propose. */
async function propose({ guard }: LedgerInstallation, entries: readonly string[]): Promise<Call[]> {
  const calls: Call[] = [];
  for (const [i, entry] of entries.entries()) {
    const { id } = await guard.propose({ tool: 'ledger.write', args: { entry } }, CONTEXT);
    calls.push({ id, entry, wish: i % 3 === 2 ? 'deny' : 'approve' });
  }
  return calls;
}

/** People in front of their clients, and what they were told. */
class Deciding {
  flipped = false;
  readonly #world: LedgerInstallation;
  readonly #people: readonly SlackPerson[];
  readonly #calls: readonly Call[];
  /** Slack said that the app has it. */
  readonly #acknowledged: { readonly call: Call; readonly person: string }[] = [];

  constructor(world: LedgerInstallation, people: readonly SlackPerson[], calls: readonly Call[]) {
    this.#world = world;
    this.#people = people;
    this.#calls = calls;
  }

  get acknowledged(): number {
    return this.#acknowledged.length;
  }

  /** Everybody at once on each card that still asks. */
  async round(): Promise<void> {
    await Promise.all(
      this.#people.map(async (person) => {
        for (const call of this.#calls) {
          const card = await this.#asking(person, call);
          if (card !== undefined) await this.#decide(person, card, call);
        }
      }),
    );
  }

  async #asking(person: SlackPerson, { id }: Call): Promise<SeenMessage | undefined> {
    const messages = await person.messages(CHANNEL);
    return messages.find(
      ({ blocks, threadTs, ephemeral }) =>
        threadTs === undefined &&
        !ephemeral &&
        blocks.some(({ type }) => type === 'actions') &&
        JSON.stringify(blocks).includes(id),
    );
  }

  async #decide(person: SlackPerson, card: SeenMessage, call: Call): Promise<void> {
    const by = `slack:${person.team}/${person.user}`;
    if (call.wish === 'approve') {
      const answer = await person.click(card, ACTIONS.approve);
      if (answer.ok) this.#acknowledged.push({ call, person: by });
      return;
    }
    if (!(await person.click(card, ACTIONS.deny)).ok) return;
    const modal = await person.waitForView(undefined, 1_500).catch(() => undefined);
    if (modal === undefined) return;
    const answer = await person.submit(modal, { cs_reason: 'not this one' });
    const subject = this.#subjectOf(modal.id);
    if (answer.ok && answer.view === null && subject !== undefined) {
      this.#acknowledged.push({ call: subject, person: by });
    }
    const left = await person.openView();
    if (left !== null) await person.closeView(left, true);
  }

  /** What a form is about, which may have been asked for a while ago, is in what the app sent. */
  #subjectOf(view: string): Call | undefined {
    const opened = this.#world.slack.traffic
      .calls('views.open')
      .find(({ result }) => (result as { view?: { id?: string } }).view?.id === view);
    return this.#calls.find(({ id }) => JSON.stringify(opened?.body ?? '').includes(id));
  }

  /** From a terminal: Slack is the one that fails here. */
  async flip(): Promise<void> {
    this.flipped = true;
    const { writeSwitch, ledger } = this.#world;
    expect(await writeSwitch.off({ scope: EVERYTHING, by: 'cli:test', why: 'look' })).toMatchObject({
      confirmed: true,
    });
    const ran = ledger().length;
    await sleep(300);
    expect(ledger()).toHaveLength(ran);
    const { epoch } = await writeSwitch.status();
    const on = await writeSwitch.on({
      scope: EVERYTHING,
      by: 'cli:test',
      why: 'looked',
      expectedEpoch: epoch,
    });
    expect(on).toMatchObject({ ok: true });
  }

  /** The records, once all of them are settled; people go on clicking until then. */
  async untilSettled(row: Tally): Promise<Map<Call, ProposalRecord>> {
    const OPEN = ['pending', 'approved', 'executing'];
    const records = new Map<Call, ProposalRecord>();
    const giveUp = performance.now() + WAIT.timeout;
    while (records.size < this.#calls.length && performance.now() < giveUp) {
      await this.round();
      for (const call of this.#calls) {
        const record = await this.#world.store.read(call.id);
        if (record !== undefined && !OPEN.includes(record.state.status)) records.set(call, record);
      }
      await sleep(WAIT.interval);
    }
    const stuck = this.#calls.filter((call) => !records.has(call));
    row.stuck(stuck.length);
    expect(stuck, 'neither settled nor unknown').toEqual([]);
    return records;
  }

  /** What does not hold, in words. */
  async held(records: ReadonlyMap<Call, ProposalRecord>, row: Tally): Promise<string[]> {
    const problems: string[] = [];
    const ledger = this.#world.ledger();
    for (const [{ id, entry }, { state }] of records) {
      const entries = await this.#world.audit.read({ proposal: id, limit: 500 });
      const kinds = entries.map(({ kind }) => kind);
      const ran = ledger.filter((line) => line === entry).length;
      if (kinds.includes('decision.deny') && state.status !== 'denied') {
        problems.push(`${entry}: denied, and is ${state.status}`);
      }
      const haltedByFlip = state.status === 'halted' && state.cause.kind === 'switch' && this.flipped;
      if (kinds.includes('proposal.approved') && state.status !== 'succeeded' && !haltedByFlip) {
        problems.push(`${entry}: approved, and is ${state.status}`);
      }
      if (ran !== (state.status === 'succeeded' ? 1 : 0)) {
        problems.push(`${entry}: is ${state.status}, and ran ${ran} times`);
      }
    }
    for (const { call, person } of this.#acknowledged) {
      const answered = async () => {
        const entries = await this.#world.audit.read({ proposal: call.id, limit: 500 });
        return entries.some(
          ({ kind, detail }) =>
            kind.startsWith('decision.') &&
            (detail.person === person || person.endsWith(`/${String(detail.user)}`)),
        );
      };
      // A click is acknowledged first and decided then.
      const giveUp = performance.now() + 20_000;
      while (!(await answered()) && performance.now() < giveUp) await sleep(WAIT.interval);
      if (!(await answered()))
        problems.push(`${call.entry}: ${person} was acknowledged, and nothing came of it`);
    }
    row.lost(problems.length);
    return problems;
  }

  /** Cards that never came to say what is. A copy that Slack lost the answer about may stand beside the live one. */
  async cardsRight(records: ReadonlyMap<Call, ProposalRecord>, row: Tally): Promise<string[]> {
    const wrong: string[] = [];
    for (const [{ id, entry }, { state }] of records) {
      let seen = 'no card';
      const right = async () => {
        const record = await this.#world.store.read(id);
        // What was settled before it was ever shown needs no card.
        if (record?.card === undefined) return state.status === 'halted';
        const messages = await this.#world.ana.messages(CHANNEL);
        const card = messages.find(({ ts }) => ts === record.card?.ts);
        seen = card?.text ?? 'no message';
        return (
          card?.blocks.every(({ type }) => type !== 'actions') === true &&
          card.text.startsWith(HEADLINES[state.status] ?? '?')
        );
      };
      const giveUp = performance.now() + WAIT.timeout;
      while (!(await right()) && performance.now() < giveUp) await sleep(WAIT.interval);
      if (!(await right())) wrong.push(`${entry} is ${state.status}, and its card says: ${seen}`);
    }
    row.stuck(wrong.length);
    return wrong;
  }
}

const HEADLINES: Readonly<Record<string, string>> = {
  succeeded: 'Done',
  denied: 'Denied',
  halted: 'Halted',
  unknown: 'OUTCOME UNKNOWN',
};

function runTwice(ledger: readonly string[], row: Tally): string[] {
  const twice = ledger.filter((entry, i) => ledger.indexOf(entry) !== i);
  row.doubled(twice.length);
  return twice;
}
