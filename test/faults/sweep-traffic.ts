import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { verifyAudit } from '../../src/audit-files/verify.ts';
import { auditKeyId, auditPublicKeyOf } from '../../src/core/audit/checkpoint.ts';
import {
  type ProposalRecord,
  type ProposalStatus,
  TERMINAL_STATUSES,
} from '../../src/core/proposal/proposal.ts';
import { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { proposalKeysIn } from '../../src/core/proposal/seal.ts';
import { openRedis } from '../../src/redis/connection.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import type { SeenMessage, SeenView } from '../../src/sandbox/slack/person-interface.ts';
import { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import { ACTIONS } from '../../src/slack/card.ts';
import { NOTICES } from '../../src/slack/notices.ts';
import {
  AgentError,
  FLOODED,
  LANES,
  type Lane,
  SWITCHED,
  type SweepInstallation,
} from './sweep-installation.ts';

/** For a person who gets no answer: as long as they wait until they click again. */
const PATIENCE_MS = 2_500;
/** After what was typed twice, so long no answer is taken for that to the next thing. */
const LATE_ANSWERS_MS = 20_000;
/** A replica that was killed in the middle of a card holds its channel for most of a minute. */
const GIVE_UP_MS = 150_000;
/** So many proposals of a lane are on their way at a time. */
const MOST_OPEN = 16;

/** What is known of one proposal beyond what Redis says of it. */
interface Tracked {
  readonly id: ProposalId;
  readonly lane: Lane;
  readonly entry: string;
  readonly scenario: Scenario;
  /** In which it may end. */
  readonly ends: readonly ProposalStatus[];
  readonly card: boolean;
  /** What the store said at some time: these may not be unsaid. */
  readonly approvers: Set<string>;
  settled: ProposalStatus | undefined;
}

export const SCENARIOS = [
  'two',
  'deny',
  'withdraw',
  'fail',
  'short',
  'auto',
  'edit',
  'grant',
  'flood',
  'switch',
  'forbidden',
] as const;
export type Scenario = (typeof SCENARIOS)[number];

export interface Findings {
  /** Of acknowledged decisions that did not hold. */
  readonly lost: string[];
  readonly doubled: string[];
  readonly stuck: string[];
  readonly auditVerified: boolean;
  readonly auditSays: string;
  readonly checked: number;
}

const RUNS: readonly ProposalStatus[] = ['succeeded', 'unknown'];
const HEADLINE: Readonly<Record<string, RegExp>> = {
  succeeded: /^Done/,
  failed: /^Failed/,
  unknown: /^OUTCOME UNKNOWN/,
  denied: /^Denied/,
  expired: /^Expired/,
  withdrawn: /^Withdrawn/,
  halted: /^(Halted|Changed)/,
};

const NEVER_SHOWN: ReadonlySet<ProposalStatus> = new Set(['withdrawn', 'halted', 'expired']);

/** Agents that propose and people who decide, in all lanes at once, whatever happens to the parts meanwhile. */
export class SweepTraffic {
  readonly #world: SweepInstallation;
  readonly #store: ProposalStoreRedis;
  readonly #switch: WriteSwitchRedis;
  readonly #close: () => void;
  readonly #open = new Map<ProposalId, Tracked>();
  readonly #all: Tracked[] = [];
  readonly #views: LaneView[];
  /** What was acknowledged and did not hold. */
  readonly #problems: string[] = [];
  /** Scenarios that came to no end. */
  readonly #hung: string[] = [];
  /** When writes were certainly off for the last lane: from the answer on, until somebody asked for on. */
  readonly #off: { from: number; to: number }[] = [];
  #next = 0;
  #running = false;
  #lanes: Promise<void>[] = [];
  #checked = 0;

  constructor(world: SweepInstallation) {
    this.#world = world;
    const connections = openRedis({ connection: world.redis.connectionOptions });
    const stores = { redis: connections.redis, shards: 1 };
    this.#store = new ProposalStoreRedis({
      ...stores,
      keys: proposalKeysIn(world.keys.COUNTERSIGN_PROPOSAL_KEY),
    });
    this.#switch = new WriteSwitchRedis(stores);
    this.#close = () => connections.close();
    this.#views = LANES.map((lane) => new LaneView(world.slack.url, lane));
  }

  async arm(): Promise<void> {
    await this.#switch.on({ scope: {}, by: 'cli:test', why: 'the sweep begins', expectedEpoch: 0 });
  }

  /** Each lane does its scenarios again and again. */
  begin(): void {
    this.#running = true;
    this.#lanes = LANES.map((_, i) => this.#runLane(i));
  }

  /** No new ones; what is begun is ended. */
  async pause(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#lanes);
  }

  /** Every scenario once, each in a lane of its own as far as there are. */
  async once(): Promise<void> {
    const plain = SCENARIOS.filter((name) => name !== 'flood' && name !== 'switch');
    await Promise.all([
      ...plain.map((scenario, i) => this.#run(i % FLOODED, scenario)),
      this.#run(FLOODED, 'flood'),
      this.#run(SWITCHED, 'switch'),
    ]);
  }

  close(): void {
    this.#close();
  }

  async #runLane(i: number): Promise<void> {
    const plain = SCENARIOS.filter((name) => name !== 'flood' && name !== 'switch');
    for (let turn = i; this.#running; turn += 1) {
      const scenario =
        i === FLOODED ? 'flood' : i === SWITCHED ? 'switch' : (plain[turn % plain.length] ?? 'two');
      await this.#run(i, scenario);
      await this.#lookAt(LANES[i]);
      while (
        this.#running &&
        [...this.#open.values()].filter(({ lane }) => lane === LANES[i]).length > MOST_OPEN
      ) {
        await sleep(300);
        await this.#lookAt(LANES[i]);
      }
    }
  }

  async #run(i: number, scenario: Scenario): Promise<void> {
    const lane = LANES[i] as Lane;
    try {
      await this[scenario](lane, this.#views[i] as LaneView);
    } catch (error) {
      this.#hung.push(`${scenario} in ${lane.tenant}: ${String(error)}`);
      await sleep(500);
    }
  }

  /* ---- the scenarios ---- */

  private async two(lane: Lane, view: LaneView): Promise<void> {
    const one = await this.#propose(lane, 'two', 'ledger.two', RUNS);
    await this.#approve(one, view, 0);
    await this.#approve(one, view, 1);
  }

  private async fail(lane: Lane, view: LaneView): Promise<void> {
    const one = await this.#propose(lane, 'fail', 'ledger.fail', ['failed', 'unknown']);
    await this.#approve(one, view, 0);
  }

  private async deny(lane: Lane, view: LaneView): Promise<void> {
    const one = await this.#propose(lane, 'deny', 'ledger.one', ['denied']);
    await this.#form(one, view, ACTIONS.deny, 'Deny this call', async (person, form) => {
      await person.submit(form, { cs_reason: 'not now' });
    });
  }

  private async withdraw(lane: Lane): Promise<void> {
    const one = await this.#propose(lane, 'withdraw', 'ledger.one', ['withdrawn']);
    await this.#withdrawn(one);
  }

  private async short(lane: Lane): Promise<void> {
    await this.#propose(lane, 'short', 'ledger.short', ['expired']);
  }

  private async auto(lane: Lane): Promise<void> {
    const one = await this.#propose(lane, 'auto', 'ledger.auto', RUNS, { card: false });
    const told = await this.#result(one);
    if (told === 'succeeded') await this.#mustBe(one, 'succeeded');
  }

  private async edit(lane: Lane, view: LaneView): Promise<void> {
    const one = await this.#propose(lane, 'edit', 'ledger.edit', ['halted']);
    await this.#form(one, view, ACTIONS.edit, 'Edit this call', async (person, form) => {
      await person.submit(form, { cs_edit_arguments: JSON.stringify({ entry: `${one.entry} edited` }) });
    });
    const record = await this.#store.read(one.id);
    if (record?.state.status !== 'halted' || record.state.cause.kind !== 'edited') return;
    const next = this.#track({ ...one, id: record.state.cause.to, entry: `${one.entry} edited`, ends: RUNS });
    await this.#approve(next, view, 1);
  }

  private async grant(lane: Lane, view: LaneView): Promise<void> {
    const one = await this.#propose(lane, 'grant', 'ledger.grant', RUNS);
    await this.#form(one, view, ACTIONS.grant, 'Allow more like this', async (person, form) => {
      const shown = await person.submit(form, {
        cs_grant_uses_number: { type: 'number_input', value: '1' },
        cs_grant_minutes_number: { type: 'number_input', value: '5' },
        cs_grant_free_arguments: {
          type: 'checkboxes',
          selected_options: [
            { text: { type: 'plain_text', text: 'entry may differ', emoji: false }, value: '0' },
          ],
        },
      });
      if (shown.ok && shown.view !== null) await person.submit(shown.view);
    });
    // Under the grant where it stands; else somebody has to be asked, and the agent takes it back.
    const more = await this.#propose(lane, 'grant', 'ledger.grant', [...RUNS, 'withdrawn'], { card: false });
    const record = await this.#store.read(more.id);
    if (record?.state.status === 'pending') await this.#withdrawn(more);
  }

  /** No proposal, and an entry in the audit all the same. */
  private async forbidden(lane: Lane): Promise<void> {
    const call = { tool: 'ledger.burn', args: {} };
    const answer = await this.#world.agent
      .ask({ what: 'propose', call, context: contextOf(lane) })
      .catch((e) => e);
    if (!(answer instanceof AgentError && answer.message.startsWith('PermissionDenied'))) {
      this.#problems.push(`a call that no tool is there for was answered with ${String(answer)}`);
    }
  }

  private async flood(lane: Lane): Promise<void> {
    const many: Tracked[] = [];
    for (let n = 0; n < 4; n += 1) {
      many.push(await this.#propose(lane, 'flood', 'ledger.one', ['withdrawn'], { card: false }));
    }
    // Time for the card that they share.
    await sleep(2_500);
    for (const one of many) await this.#withdrawn(one);
    await sleep(1_000);
  }

  private async switch(lane: Lane, view: LaneView): Promise<void> {
    const ends: ProposalStatus[] = [...RUNS, 'halted'];
    const one = await this.#propose(lane, 'switch', 'ledger.two', ends);
    const two = await this.#propose(lane, 'switch', 'ledger.two', ends);
    await this.#approve(one, view, 0);
    await this.#approve(one, view, 1);
    const isOff = async () =>
      (await this.#switch.status()).off.some(({ scope }) => scope.tenant === lane.tenant);
    const off = await view.flip('U0CHEN', `off tenant ${lane.tenant} the sweep`, '*Writes are off*', isOff);
    // The answer is there: from now on nothing starts.
    const from = Date.now();
    if (off) {
      if (!(await isOff())) this.#problems.push(`off was answered for ${lane.tenant}, and it is not off`);
      const late = await this.#propose(lane, 'switch', 'ledger.auto', ['halted'], {
        card: false,
        insist: false,
      }).catch((error: unknown) => {
        if (!(error instanceof AgentError && error.code === 'writes_disabled')) throw error;
      });
      if (late !== undefined) this.#problems.push(`${named(late)} was proposed after off was answered`);
      await sleep(300);
      await this.#mustBe(two, 'halted');
    }
    const to = Date.now();
    await view.flip(
      'U0LEAD',
      `on tenant ${lane.tenant} the sweep`,
      '*Writes are on*',
      async () => !(await isOff()),
    );
    if (off) this.#off.push({ from, to });
  }

  /* ---- what they are made of ---- */

  async #propose(
    lane: Lane,
    scenario: Scenario,
    tool: string,
    ends: readonly ProposalStatus[],
    { card = true, insist = true } = {},
  ): Promise<Tracked> {
    this.#next += 1;
    const entry = `${scenario}-${this.#next}`;
    const ask = {
      what: 'propose',
      call: { tool, args: { entry }, idempotencyKey: entry },
      context: contextOf(lane),
    };
    const answer = await this.#world.agent.ask(ask, { insist });
    const id = ProposalId.parse(answer);
    return this.#track({ id, lane, entry, scenario, ends, card, approvers: new Set(), settled: undefined });
  }

  #track(one: Tracked): Tracked {
    const own = { ...one, approvers: new Set<string>(), settled: undefined };
    this.#open.set(own.id, own);
    this.#all.push(own);
    return own;
  }

  async #approve(one: Tracked, view: LaneView, who: 0 | 1): Promise<void> {
    const person = `slack:T0ACME/${one.lane.approvers[who]}`;
    const done = (record: ProposalRecord) =>
      record.state.status !== 'pending' ||
      record.state.approvals.some(({ statement }) => statement.person === person);
    await this.#clicked(one, view, who, ACTIONS.approve, done, async () => {});
  }

  /** Opens a form from the card and hands it in, until the proposal is not pending any more. */
  async #form(
    one: Tracked,
    view: LaneView,
    action: string,
    title: string,
    fill: (person: SlackPerson, form: SeenView) => Promise<void>,
  ): Promise<void> {
    await this.#clicked(
      one,
      view,
      0,
      action,
      ({ state }) => state.status !== 'pending',
      async (person) => {
        const form = await person
          .waitForView((shown) => shown.title === title, PATIENCE_MS)
          .catch(() => undefined);
        if (form !== undefined) await fill(person, form);
      },
    );
  }

  async #clicked(
    one: Tracked,
    view: LaneView,
    who: 0 | 1,
    action: string,
    done: (record: ProposalRecord) => boolean,
    then: (person: SlackPerson) => Promise<void>,
  ): Promise<void> {
    const person = view.person(who);
    const until = performance.now() + GIVE_UP_MS;
    while (performance.now() < until) {
      const record = await this.#lookAt(one);
      if (record !== undefined && done(record)) return;
      const card = (await view.cards(one.id)).find(hasButtons);
      if (card === undefined) {
        await sleep(100);
        continue;
      }
      const left = await person.openView();
      if (left !== null) await person.closeView(left, true);
      await person.click(card, action);
      await then(person);
      const patience = performance.now() + PATIENCE_MS;
      while (performance.now() < patience) {
        const now = await this.#lookAt(one);
        if (now !== undefined && done(now)) return;
        await sleep(50);
      }
    }
  }

  async #withdrawn(one: Tracked): Promise<void> {
    const settled = await this.#world.agent.ask({
      what: 'withdraw',
      id: one.id,
      context: contextOf(one.lane),
    });
    // Where the agent died before it heard, the second time finds it withdrawn already.
    if (settled === true) await this.#mustBe(one, 'withdrawn');
  }

  /** What the agent is told, for as long as it is worth waiting for. */
  async #result(one: Tracked): Promise<ProposalStatus | undefined> {
    try {
      await this.#world.agent.ask(
        { what: 'result', id: one.id, context: contextOf(one.lane), timeout: 5_000 },
        { giveUpMs: 0 },
      );
      return 'succeeded';
    } catch {
      return undefined;
    }
  }

  async #mustBe(one: Tracked, status: ProposalStatus): Promise<void> {
    const record = await this.#lookAt(one);
    if (record?.state.status !== status) {
      this.#problems.push(`${named(one)} was said to be ${status} and is ${record?.state.status}`);
    }
  }

  /** Remembers what may not be unsaid. */
  async #lookAt(one: Tracked): Promise<ProposalRecord | undefined>;
  async #lookAt(lane: Lane | undefined): Promise<undefined>;
  async #lookAt(what: Tracked | Lane | undefined): Promise<ProposalRecord | undefined> {
    if (what === undefined) return undefined;
    if (!('entry' in what)) {
      for (const one of [...this.#open.values()]) if (one.lane === what) await this.#lookAt(one);
      return undefined;
    }
    const record = await this.#store.read(what.id);
    if (record === undefined) {
      this.#problems.push(`${named(what)} is gone`);
      this.#open.delete(what.id);
      return undefined;
    }
    const { status, approvals } = record.state;
    const now = new Set<string>(approvals.map(({ statement }) => statement.person));
    for (const person of what.approvers) {
      if (!now.has(person)) this.#problems.push(`${named(what)}: the approval by ${person} is gone`);
    }
    for (const person of now) what.approvers.add(person);
    if (what.settled !== undefined && what.settled !== status) {
      this.#problems.push(`${named(what)} was ${what.settled} and is ${status}`);
    }
    if (TERMINAL_STATUSES.has(status)) {
      what.settled = status;
      this.#open.delete(what.id);
    }
    return record;
  }

  /* ---- what must be true in the end ---- */

  /** To be asked when no fault is there any more and `pause` has resolved. */
  async check(): Promise<Findings> {
    const stuck = [...this.#hung.splice(0), ...(await this.#stillOpen())];
    const lost = this.#problems.splice(0);
    const doubled: string[] = [];
    const counts = new Map<string, number>();
    for (const { entry, tenant, at } of this.#world.ledger()) {
      counts.set(entry, (counts.get(entry) ?? 0) + 1);
      const off =
        tenant === LANES[SWITCHED]?.tenant && this.#off.find(({ from, to }) => at > from && at < to);
      if (off) lost.push(`${entry} ran ${at - off.from} ms after off was answered`);
    }
    const fresh = this.#all.slice(this.#checked);
    for (const one of fresh) {
      const ran = counts.get(one.entry) ?? 0;
      if (ran > 1) doubled.push(`${named(one)} ran ${ran} times`);
      const status = one.settled;
      if (status === undefined) continue;
      if (!one.ends.includes(status))
        lost.push(`${named(one)} ended ${status}, not ${one.ends.join(' or ')}`);
      const runs = status === 'succeeded' || status === 'failed';
      if (runs && ran === 0) lost.push(`${named(one)} ended ${status} and never ran`);
      if (!runs && status !== 'unknown' && ran > 0) lost.push(`${named(one)} ended ${status} and ran`);
    }
    for (const [entry, times] of counts) {
      if (times > 1 && !doubled.some((text) => text.includes(entry)))
        doubled.push(`${entry} ran ${times} times`);
    }
    lost.push(...(await this.#unrecorded()));
    stuck.push(...(await this.#wrongCards(fresh)));
    this.#checked = this.#all.length;
    const audit = await this.#audit(fresh);
    return { lost, doubled, stuck, ...audit, checked: fresh.length };
  }

  async #stillOpen(): Promise<string[]> {
    const until = performance.now() + GIVE_UP_MS;
    while (this.#open.size > 0 && performance.now() < until) {
      for (const one of [...this.#open.values()]) await this.#lookAt(one);
      await sleep(250);
    }
    const stuck: string[] = [];
    for (const one of [...this.#open.values()]) {
      const record = await this.#store.read(one.id);
      stuck.push(`${named(one)} is ${record?.state.status}`);
    }
    this.#open.clear();
    return stuck;
  }

  /** Whoever was told that their decision is recorded: it is. */
  async #unrecorded(): Promise<string[]> {
    const lost: string[] = [];
    for (const [i, view] of this.#views.entries()) {
      for (const who of [0, 1] as const) {
        const person = `slack:T0ACME/${LANES[i]?.approvers[who]}`;
        const records = await Promise.all(
          this.#all.filter(({ lane }) => lane === LANES[i]).map(({ id }) => this.#store.read(id)),
        );
        const of = (record: ProposalRecord | undefined) => record?.state;
        const approved = records.filter((r) =>
          of(r)?.approvals.some(({ statement }) => statement.person === person),
        );
        const denied = records.filter((r) => {
          const state = of(r);
          return state?.status === 'denied' && state.denial.statement.person === person;
        });
        const told = await view.told(who);
        const said = (text: string) => told.filter((one) => one.startsWith(text)).length;
        if (said(NOTICES.approved) > approved.length) {
          lost.push(
            `${person} was told of ${said(NOTICES.approved)} approvals, ${approved.length} are recorded`,
          );
        }
        if (said(NOTICES.denied) > denied.length) {
          lost.push(`${person} was told of ${said(NOTICES.denied)} denials, ${denied.length} are recorded`);
        }
      }
    }
    return lost;
  }

  async #wrongCards(fresh: readonly Tracked[]): Promise<string[]> {
    const until = performance.now() + GIVE_UP_MS;
    let wrong: string[] = [];
    do {
      wrong = [];
      for (const one of fresh) {
        const view = this.#views[LANES.indexOf(one.lane)];
        if (!one.card || one.settled === undefined || view === undefined) continue;
        const problem = wrongCard(one.settled, await view.cards(one.id), await this.#store.read(one.id));
        if (problem !== undefined) wrong.push(`${named(one)}, ${one.settled}: ${problem}`);
      }
      if (wrong.length > 0) await sleep(500);
    } while (wrong.length > 0 && performance.now() < until);
    return wrong;
  }

  /** Once the approval service has stopped in order: everything is sealed and signed. */
  async #audit(fresh: readonly Tracked[]): Promise<{ auditVerified: boolean; auditSays: string }> {
    const { approvals } = this.#world.parts;
    await approvals.stop();
    const key = auditPublicKeyOf(this.#world.keys.COUNTERSIGN_AUDIT_PUBLIC_KEY);
    const report = verifyAudit(this.#world.auditDirectory, { keys: new Map([[auditKeyId(key), key]]) });
    const sealed = sealedText(this.#world.auditDirectory);
    const missing = fresh.filter(({ id }) => !sealed.includes(id));
    await approvals.start();
    const says = report.chains
      .filter(({ verdict }) => verdict !== 'intact')
      .map((chain) => JSON.stringify(chain));
    if (missing.length > 0) says.push(`not in the files: ${missing.map(named).join(', ')}`);
    return { auditVerified: report.verdict === 'intact' && missing.length === 0, auditSays: says.join('\n') };
  }
}

/** A channel, as its two approvers see it. What did not change is not asked for again. */
class LaneView {
  readonly #lane: Lane;
  readonly #url: string;
  readonly #people: readonly SlackPerson[];
  #typedTwice = Number.NEGATIVE_INFINITY;
  readonly #seen = new Map<string, { cursor: number; messages: Map<string, SeenMessage> }>();

  constructor(url: string, lane: Lane) {
    this.#lane = lane;
    this.#url = url;
    this.#people = lane.approvers.map((user) => new SlackPerson(url, { team: 'T0ACME', user }));
  }

  person(who: 0 | 1): SlackPerson {
    return this.#people[who] as SlackPerson;
  }

  /** Those in the channel itself, oldest first. */
  async cards(id: ProposalId): Promise<SeenMessage[]> {
    return [...(await this.#messages(this.person(0))).values()].filter(
      (message) =>
        message.threadTs === undefined && !message.ephemeral && JSON.stringify(message.blocks).includes(id),
    );
  }

  /** What one person alone was told. */
  async told(who: 0 | 1): Promise<string[]> {
    const messages = [...(await this.#messages(this.person(who))).values()];
    return messages.filter(({ ephemeral }) => ephemeral).map(({ text }) => text);
  }

  /**
   * Types it until it is so. @returns whether the answer that was seen is certainly the answer to this: whoever types a
   * thing twice may get the second answer when they have typed another thing already.
   */
  async flip(user: string, words: string, wanted: string, isSo: () => Promise<boolean>): Promise<boolean> {
    const person = new SlackPerson(this.#url, { team: 'T0ACME', user });
    const until = performance.now() + GIVE_UP_MS;
    const known = new Set((await this.#messages(person)).keys());
    const clean = performance.now() - this.#typedTwice > LATE_ANSWERS_MS;
    for (let tries = 1; performance.now() < until; tries += 1) {
      if (tries > 1) this.#typedTwice = performance.now();
      await person.command(`/agent-writes ${words}`, this.#lane.channel);
      const patience = performance.now() + PATIENCE_MS;
      while (performance.now() < patience) {
        const fresh = [...(await this.#messages(person)).values()].filter(
          ({ ephemeral, ts }) => ephemeral && !known.has(ts),
        );
        if (fresh.some(({ text }) => text.includes(wanted))) {
          if (clean && tries === 1) return true;
          if (await isSo()) return false;
        }
        await sleep(50);
      }
      if (await isSo()) {
        this.#typedTwice = performance.now();
        return false;
      }
    }
    throw new Error(`/agent-writes ${words} had no effect`);
  }

  async #messages(person: SlackPerson): Promise<Map<string, SeenMessage>> {
    const seen = this.#seen.get(person.user) ?? { cursor: 0, messages: new Map() };
    this.#seen.set(person.user, seen);
    for (const message of await person.messages(this.#lane.channel, seen.cursor)) {
      seen.messages.set(message.ts, message);
      seen.cursor = Math.max(seen.cursor, message.cursor);
    }
    return seen.messages;
  }
}

function wrongCard(
  status: ProposalStatus,
  cards: readonly SeenMessage[],
  record: ProposalRecord | undefined,
): string | undefined {
  const recorded = cards.find(({ ts }) => ts === record?.card?.ts);
  if (record === undefined) return 'is gone';
  // What ended before people could be asked is not shown to them any more.
  if (record.card === undefined && NEVER_SHOWN.has(status) && cards.length <= record.unseenCards)
    return undefined;
  if (recorded === undefined) return 'has no card';
  if (hasButtons(recorded)) return 'its card still has buttons';
  if (!HEADLINE[status]?.test(recorded.text))
    return `its card says ${JSON.stringify(recorded.text.slice(0, 60))}`;
  // Where a replica died between Slack's answer and the note of it, and only there, a copy is left.
  const copies = cards.filter((card) => card !== recorded && hasButtons(card)).length;
  return copies > record.unseenCards ? `${copies} copies of its card still have buttons` : undefined;
}

function hasButtons(message: SeenMessage): boolean {
  return message.blocks.some(({ type }) => type === 'actions');
}

function contextOf({ tenant }: Lane) {
  return {
    tenant,
    environment: 'production',
    agent: 'ledger-bot',
    principal: 'slack:T0ACME/U0RITA',
    run: 'sweep',
  };
}

function named({ id, entry, lane }: Tracked): string {
  return `${entry} (${id}, ${lane.tenant})`;
}

function sealedText(directory: string): string {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.jsonl') && !name.endsWith('.checkpoints.jsonl'))
    .map((name) => readFileSync(join(directory, name), 'utf8'))
    .join('');
}
