import { setTimeout as sleep } from 'node:timers/promises';
import { Queue } from 'bullmq';
import { verifyAudit } from '../../src/audit-files/verify.ts';
import { auditKeyId, auditPublicKeyOf } from '../../src/core/audit/checkpoint.ts';
import {
  type ProposalRecord,
  type ProposalStatus,
  TERMINAL_STATUSES,
} from '../../src/core/proposal/proposal.ts';
import { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { StoreUnavailable } from '../../src/core/proposal/proposal-store.ts';
import { parseTerms, proposalKeysIn } from '../../src/core/proposal/seal.ts';
import { JOB_NAME, QUEUE_NAME, queuePrefix } from '../../src/queue/proposal-queue.ts';
import { openRedis } from '../../src/redis/connection.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import type { SeenMessage, SeenView } from '../../src/sandbox/slack/person-interface.ts';
import { hasButtons, SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import { ACTIONS } from '../../src/slack/card.ts';
import { REVOKE_GRANT } from '../../src/slack/grant-card.ts';
import { LIST_ACTIONS } from '../../src/slack/list-actions.ts';
import { NOTICES } from '../../src/slack/notices.ts';
import { eventually } from './eventually.ts';
import { sealedLines } from './sealed-lines.ts';
import {
  AgentError,
  APPROVERS,
  CHANNEL,
  type Hit,
  LANES,
  type Lane,
  type Scenario,
  type SweepInstallation,
} from './sweep-installation.ts';

/** For a person who gets no answer: as long as they wait until they click again. */
const PATIENCE_MS = 2_500;
const MOST_PATIENCE_MS = 15_000;
const NOT_ANSWERED_MS = 500;
/** After what was typed twice, so long no answer is taken for that to the next thing. */
const LATE_ANSWERS_MS = 20_000;
/** Far above every lease and every pause that somebody has to sit out. */
const GIVE_UP_MS = 120_000;
/** So many proposals of a lane are on their way at a time. */
const MOST_OPEN = 8;
/** People do not do one thing after the other without a breath. */
const PAUSE_MS = 250;
/** Whom Slack's list named so short a time ago is believed to be in a group. */
const GROUP_READ_ANEW_MS = 4_300;
/** A card that somebody deleted is looked for now and then. */
const DELETED_SEEN_MS = 20_000;

/** What is known of one proposal beyond what Redis says of it. */
interface Tracked {
  readonly id: ProposalId;
  readonly lane: Lane;
  readonly entry: string;
  readonly scenario: Scenario;
  /** In which it may end. */
  ends: readonly ProposalStatus[];
  readonly card: boolean;
  /** By the clock of this machine. */
  readonly since: number;
  /** What the store said at some time: these may not be unsaid. */
  readonly approvers: Set<string>;
  /** Whose approvals may be taken out again. */
  readonly mayLose: Set<string>;
  settled: ProposalStatus | undefined;
}

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
  readonly #close: () => Promise<void>;
  readonly #open = new Map<ProposalId, Tracked>();
  readonly #all: Tracked[] = [];
  readonly #views: LaneView[];
  /** What was acknowledged and did not hold. */
  readonly #problems: string[] = [];
  /** Scenarios that came to no end. */
  readonly #hung: string[] = [];
  /** When writes were certainly off for a lane: from the answer on, until somebody asked for on. */
  readonly #off: { tenant: string; from: number; to: number }[] = [];
  readonly #queue: Queue;
  readonly #giveUpMs: number;
  #next = 0;
  #grants = 0;
  #running = false;
  /** Since when no part is struck any more. */
  #calmSince = Number.NEGATIVE_INFINITY;
  #lanes: Promise<void>[] = [];
  #checked = 0;

  /** @param giveUpMs for what must come to an end: shorter where it is known that it will not. */
  constructor(world: SweepInstallation, giveUpMs = GIVE_UP_MS) {
    this.#world = world;
    this.#giveUpMs = giveUpMs;
    const connections = openRedis({ connection: world.redis.connectionOptions });
    const stores = { redis: connections.redis, shards: 1 };
    this.#store = new ProposalStoreRedis({
      ...stores,
      keys: proposalKeysIn(world.keys.COUNTERSIGN_PROPOSAL_KEY),
    });
    this.#switch = new WriteSwitchRedis(stores);
    this.#queue = new Queue(QUEUE_NAME, {
      ...{ connection: connections.redis, prefix: queuePrefix(0) },
      // As the product's: what is asked then may be answered late, and the queue never works again.
      skipVersionCheck: true,
    });
    this.#queue.on('error', () => {});
    this.#close = async () => {
      await this.#queue.close();
      connections.close();
    };
    this.#views = LANES.map((lane) => new LaneView(world.slack.url, lane, giveUpMs));
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
    this.#calmSince = performance.now();
    await Promise.all(this.#lanes);
  }

  /** Every scenario once, each lane for itself. */
  async once(): Promise<void> {
    const each = LANES.map(async ({ scenarios }, i) => {
      for (const scenario of new Set(scenarios)) await this.#run(i, scenario);
    });
    await Promise.all(each);
  }

  close(): Promise<void> {
    return this.#close();
  }

  async #runLane(i: number): Promise<void> {
    const lane = LANES[i] as Lane;
    for (let turn = 0; this.#running; turn += 1) {
      await this.#run(i, lane.scenarios[turn % lane.scenarios.length] as Scenario);
      do {
        await sleep(PAUSE_MS);
        await this.#lookAt(lane);
      } while (this.#running && this.#openIn(lane) > MOST_OPEN);
    }
  }

  #openIn(lane: Lane): number {
    return [...this.#open.values()].filter((one) => one.lane === lane).length;
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
    // Once, Slack does not serve: the card is put off.
    this.#world.slack.faults.unavailable(1, 'chat.postMessage');
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
    await this.#jobsBesides(one);
    const told = await this.#result(one);
    if (told === 'succeeded') await this.#mustBe(one, 'succeeded');
  }

  private async long(lane: Lane): Promise<void> {
    const one = await this.#propose(lane, 'long', 'ledger.long', RUNS, { card: false });
    await this.#jobsBesides(one);
    await sleep(600);
    // While it runs, or is believed to.
    await this.#jobsBesides(one);
  }

  /** For staging there are no credentials: the executor refuses. */
  private async refused(lane: Lane): Promise<void> {
    await this.#propose(lane, 'refused', 'ledger.auto', ['halted'], { card: false, environment: 'staging' });
  }

  /** Who approved leaves the group before the second one approves: the first one's approval is taken out. */
  private async left(lane: Lane, view: LaneView): Promise<void> {
    const one = await this.#propose(lane, 'left', 'ledger.two', ['withdrawn']);
    await this.#approve(one, view, 0);
    const groups = this.#world.slack.world.workspaces.find(({ team }) => team === lane.team)?.groups ?? [];
    const before = groups.map(({ users }) => users);
    for (const group of groups) group.users = group.users.filter((user) => user !== APPROVERS[0]);
    one.mayLose.add(personOf(lane, 0));
    try {
      await sleep(GROUP_READ_ANEW_MS);
      await this.#approve(one, view, 1);
      const record = await this.#lookAt(one);
      const counts = record?.state.approvals.some(({ statement }) => statement.person === personOf(lane, 0));
      if (counts && record?.state.status !== 'pending')
        this.#problems.push(`${named(one)}: who left the group approves all the same`);
    } finally {
      for (const [i, group] of groups.entries()) group.users = before[i] ?? [];
    }
    await this.#withdrawn(one);
    await sleep(GROUP_READ_ANEW_MS);
  }

  /** Somebody deletes the card: another one is posted, and decides. */
  private async deleted(lane: Lane, view: LaneView): Promise<void> {
    const one = await this.#propose(lane, 'deleted', 'ledger.one', RUNS);
    const until = performance.now() + this.#giveUpMs;
    for (let record = await this.#lookAt(one); performance.now() < until; record = await this.#lookAt(one)) {
      const message = record?.card?.ts;
      if (message !== undefined) {
        await fetch(`${this.#world.slack.url}/sandbox/faults`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ kind: 'delete_message', team: lane.team, channel: CHANNEL, message }),
        });
        view.forget(message);
        break;
      }
      await sleep(100);
    }
    const seen = performance.now() + DELETED_SEEN_MS;
    while (performance.now() < seen && (await view.cards(one.id)).length === 0) await sleep(250);
    await this.#approve(one, view, 0);
  }

  /** A channel in which nobody can be asked. */
  private async archived(lane: Lane): Promise<void> {
    await this.#propose(lane, 'archived', 'ledger.one', ['halted'], { card: false });
    await sleep(1_500);
  }

  private async edit(lane: Lane, view: LaneView): Promise<void> {
    const one = await this.#propose(lane, 'edit', 'ledger.edit', ['halted']);
    await this.#form(one, view, ACTIONS.edit, 'Edit this call', async (person, form) => {
      await person.submit(form, { cs_edit_arguments: JSON.stringify({ entry: `${one.entry} edited` }) });
    });
    const record = await this.#read(one.id);
    if (record?.state.status !== 'halted' || record.state.cause.kind !== 'edited') return;
    const next = this.#track({ ...one, id: record.state.cause.to, entry: `${one.entry} edited`, ends: RUNS });
    await this.#approve(next, view, 1);
  }

  private async grant(lane: Lane, view: LaneView): Promise<void> {
    // The call after it uses up the one, and leaves the other for somebody to revoke.
    this.#grants += 1;
    const uses = String(1 + (this.#grants % 2));
    const one = await this.#propose(lane, 'grant', 'ledger.grant', RUNS);
    // The round before may have left its grant standing, and the click that revokes it may still be on its way.
    const asked = await this.#read(one.id);
    if (asked !== undefined && isUnderGrant(asked)) one.ends = [...RUNS, 'halted'];
    await this.#form(one, view, ACTIONS.grant, 'Allow more like this', async (person, form) => {
      const shown = await person.submit(form, {
        cs_grant_uses_number: { type: 'number_input', value: uses },
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
    // Under the grant where it stands, and halted where it is revoked first; else somebody has to be asked, and the
    // agent takes it back.
    const ends: ProposalStatus[] = [...RUNS, 'withdrawn', 'halted'];
    const more = await this.#propose(lane, 'grant', 'ledger.grant', ends, { card: false });
    const record = await this.#read(more.id);
    if (record?.state.status === 'pending') await this.#withdrawn(more);
    await view.pressed(0, REVOKE_GRANT);
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

  private async flood(lane: Lane, view: LaneView): Promise<void> {
    const many: Tracked[] = [];
    for (let n = 0; n < 4; n += 1) {
      many.push(await this.#propose(lane, 'flood', 'ledger.one', ['withdrawn'], { card: false }));
    }
    // Time for the card that they share.
    await sleep(2_500);
    await view.looksThrough();
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
      (await eventually(() => this.#switch.status(), isUnavailable)).off.some(
        ({ scope }) => scope.tenant === lane.tenant,
      );
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
    await view.turnedOn(
      ['U0LEAD', 'U0BEN'],
      `on tenant ${lane.tenant} the sweep`,
      async () => !(await isOff()),
    );
    if (off) this.#off.push({ tenant: lane.tenant, from, to });
  }

  /* ---- what they are made of ---- */

  async #propose(
    lane: Lane,
    scenario: Scenario,
    tool: string,
    ends: readonly ProposalStatus[],
    { card = true, insist = true, environment = 'production' } = {},
  ): Promise<Tracked> {
    this.#next += 1;
    const entry = `${scenario}-${this.#next}`;
    const since = Date.now();
    const ask = {
      what: 'propose',
      call: { tool, args: { entry }, idempotencyKey: entry },
      context: { ...contextOf(lane), environment },
    };
    const answer = await this.#world.agent.ask(ask, { insist });
    const id = ProposalId.parse(answer);
    return this.#track({ id, lane, entry, scenario, ends, card, since });
  }

  #track(one: Omit<Tracked, 'approvers' | 'mayLose' | 'settled'>): Tracked {
    const own = { ...one, approvers: new Set<string>(), mayLose: new Set<string>(), settled: undefined };
    this.#open.set(own.id, own);
    this.#all.push(own);
    return own;
  }

  /**
   * A job is only a reason to look, and may come twice, late or made up. So both executors look, at the same moment or
   * after one of them was frozen.
   */
  async #jobsBesides({ id }: Tracked): Promise<void> {
    const more = () => this.#queue.add(JOB_NAME, { id }, { removeOnComplete: true, removeOnFail: true });
    await Promise.all([more(), more()]);
  }

  async #approve(one: Tracked, view: LaneView, who: 0 | 1): Promise<void> {
    const person = personOf(one.lane, who);
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
      async (person, patienceMs) => {
        const form = await person
          .waitForView((shown) => shown.title === title, patienceMs)
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
    then: (person: SlackPerson, patienceMs: number) => Promise<void>,
  ): Promise<void> {
    const person = view.person(who);
    let patienceMs = PATIENCE_MS;
    const began = performance.now();
    // While parts are struck nobody gives up: each click may meet one that is just away.
    const goesOn = () =>
      this.#running || performance.now() < Math.max(began, this.#calmSince) + this.#giveUpMs;
    while (goesOn()) {
      const record = await this.#lookAt(one);
      if (record !== undefined && done(record)) return;
      // Any of them: one that stands twice decides like the other.
      const asking = (await view.cards(one.id)).filter(hasButtons);
      const card = asking[Math.floor(Math.random() * asking.length)];
      if (card === undefined) {
        await sleep(100);
        continue;
      }
      const left = await person.openView();
      if (left !== null) await person.closeView(left, true);
      const answer = await person.click(card, action);
      if (!answer.ok) {
        // Slack says at once that the app did not answer.
        await sleep(NOT_ANSWERED_MS);
        continue;
      }
      await then(person, patienceMs);
      const patience = performance.now() + patienceMs;
      // Whoever clicks too often is told to wait: Slack says only so often who is in a group.
      patienceMs = Math.min(patienceMs * 1.5, MOST_PATIENCE_MS);
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

  #read(id: ProposalId): Promise<ProposalRecord | undefined> {
    return eventually(() => this.#store.read(id), isUnavailable);
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
    const record = await this.#read(what.id);
    if (record === undefined) {
      this.#problems.push(`${named(what)} is gone`);
      this.#open.delete(what.id);
      return undefined;
    }
    const { status, approvals } = record.state;
    const now = new Set<string>(approvals.map(({ statement }) => statement.person));
    for (const person of what.approvers) {
      if (now.has(person)) continue;
      what.approvers.delete(person);
      if (!what.mayLose.has(person)) this.#problems.push(`${named(what)}: the approval by ${person} is gone`);
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
    const ranIn = new Map<string, number>();
    for (const { entry, tenant, at, pid } of this.#world.ledger()) {
      counts.set(entry, (counts.get(entry) ?? 0) + 1);
      ranIn.set(entry, pid);
      const off = this.#off.find((one) => one.tenant === tenant && at > one.from && at < one.to);
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
      if (status === 'unknown' && !wasInDoubt(one, ranIn.get(one.entry), this.#world.hit())) {
        lost.push(`${named(one)} ended unknown, and nothing befell its executor`);
      }
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
    const until = performance.now() + this.#giveUpMs;
    while (this.#open.size > 0 && performance.now() < until) {
      for (const one of [...this.#open.values()]) await this.#lookAt(one);
      await sleep(250);
    }
    const stuck: string[] = [];
    for (const one of [...this.#open.values()]) {
      const record = await this.#read(one.id);
      stuck.push(`${named(one)} is ${record?.state.status}`);
    }
    this.#open.clear();
    return stuck;
  }

  /** Whoever was told that their decision is recorded: it is. */
  async #unrecorded(): Promise<string[]> {
    const lost: string[] = [];
    for (const [i, view] of this.#views.entries()) {
      const lane = LANES[i] as Lane;
      const own = this.#all.filter((one) => one.lane === lane);
      const records = await Promise.all(own.map(({ id }) => this.#read(id)));
      for (const who of [0, 1] as const) {
        const person = personOf(lane, who);
        const recorded = { approvals: 0, denials: 0 };
        for (const record of records) {
          if (record === undefined) continue;
          const { state, course } = record;
          const taken = course.filter((event) => event.event === 'revoked' && event.person === person).length;
          recorded.approvals +=
            taken + state.approvals.filter(({ statement }) => statement.person === person).length;
          if (state.status === 'denied' && state.denial.statement.person === person) recorded.denials += 1;
        }
        const told = await view.told(who);
        const said = (text: string) => told.filter((one) => one.startsWith(text)).length;
        if (said(NOTICES.approved) > recorded.approvals) {
          lost.push(
            `${person} was told of ${said(NOTICES.approved)} approvals, ${recorded.approvals} are recorded`,
          );
        }
        if (said(NOTICES.denied) > recorded.denials) {
          lost.push(
            `${person} was told of ${said(NOTICES.denied)} denials, ${recorded.denials} are recorded`,
          );
        }
      }
    }
    return lost;
  }

  async #wrongCards(fresh: readonly Tracked[]): Promise<string[]> {
    const until = performance.now() + this.#giveUpMs;
    let wrong: string[] = [];
    do {
      wrong = [];
      for (const one of fresh) {
        const view = this.#views[LANES.indexOf(one.lane)];
        if (!one.card || one.settled === undefined || view === undefined) continue;
        const problem = wrongCard(one.settled, await view.cards(one.id), await this.#read(one.id));
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
    const sealed = sealedLines(this.#world.auditDirectory).join('\n');
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
  readonly #team: string;
  readonly #url: string;
  readonly #giveUpMs: number;
  readonly #people: readonly SlackPerson[];
  #typedTwice = Number.NEGATIVE_INFINITY;
  readonly #seen = new Map<string, Seen>();

  constructor(url: string, { team }: Lane, giveUpMs: number) {
    this.#team = team;
    this.#url = url;
    this.#giveUpMs = giveUpMs;
    this.#people = APPROVERS.map((user) => new SlackPerson(url, { team, user }));
  }

  person(who: 0 | 1): SlackPerson {
    return this.#people[who] as SlackPerson;
  }

  /** Those in the channel itself, oldest first. */
  async cards(id: ProposalId): Promise<SeenMessage[]> {
    const { messages, cards } = await this.#messages(this.person(0));
    return [...(cards.get(id) ?? [])].flatMap((ts) => messages.get(ts) ?? []);
  }

  /** That it is gone, nobody is told. */
  forget(ts: string): void {
    for (const { messages } of this.#seen.values()) messages.delete(ts);
  }

  /** What one person alone was told. */
  async told(who: 0 | 1): Promise<string[]> {
    return [...(await this.#messages(this.person(who))).told.values()];
  }

  /** The newest button of that kind, where one comes. */
  async pressed(who: 0 | 1, action: string): Promise<void> {
    const person = this.person(who);
    const until = performance.now() + MOST_PATIENCE_MS;
    while (performance.now() < until) {
      const { messages } = await this.#messages(person);
      const found = [...messages.values()].findLast(({ blocks }) =>
        JSON.stringify(blocks).includes(`"${action}"`),
      );
      if (found !== undefined) {
        await person.click(found, action);
        return;
      }
      await sleep(100);
    }
  }

  /** Opens the list of what waits, picks nothing from it and is told so; and the inbox. */
  async looksThrough(): Promise<void> {
    const person = this.person(0);
    await this.pressed(0, LIST_ACTIONS.open);
    const list = await person
      .waitForView(({ title }) => title === 'Waiting calls', PATIENCE_MS)
      .catch(() => undefined);
    if (list !== undefined) {
      await person.click(list, LIST_ACTIONS.approve);
      await person.waitForView(({ title }) => title === 'Not decided', PATIENCE_MS).catch(() => undefined);
      await person.closeView(list, true);
    }
    await person.openHome();
  }

  /**
   * Types it until it is so. @returns whether the answer that was seen is certainly the answer to this: whoever types a
   * thing twice may get the second answer when they have typed another thing already.
   */
  async flip(user: string, words: string, wanted: string, isSo: () => Promise<boolean>): Promise<boolean> {
    const person = new SlackPerson(this.#url, { team: this.#team, user });
    const until = performance.now() + this.#giveUpMs;
    const known = new Set((await this.#messages(person)).told.keys());
    const clean = performance.now() - this.#typedTwice > LATE_ANSWERS_MS;
    for (let tries = 1; performance.now() < until; tries += 1) {
      if (tries > 1) this.#typedTwice = performance.now();
      await person.command(`/agent-writes ${words}`, CHANNEL);
      const patience = performance.now() + PATIENCE_MS;
      while (performance.now() < patience) {
        const { told } = await this.#messages(person);
        if ([...told].some(([ts, text]) => !known.has(ts) && text.includes(wanted))) {
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

  /** Takes as many people as the policy says; they type it in turn until it is so. */
  async turnedOn(users: readonly string[], words: string, isSo: () => Promise<boolean>): Promise<void> {
    const until = performance.now() + this.#giveUpMs;
    while (performance.now() < until) {
      for (const user of users) {
        await new SlackPerson(this.#url, { team: this.#team, user }).command(
          `/agent-writes ${words}`,
          CHANNEL,
        );
        const patience = performance.now() + PATIENCE_MS / 2;
        while (performance.now() < patience) {
          if (await isSo()) return;
          await sleep(100);
        }
      }
    }
    throw new Error(`/agent-writes ${words} had no effect`);
  }

  async #messages(person: SlackPerson): Promise<Seen> {
    const seen = this.#seen.get(person.user) ?? {
      cursor: 0,
      messages: new Map(),
      cards: new Map(),
      told: new Map(),
    };
    this.#seen.set(person.user, seen);
    for (const message of await person.messages(CHANNEL, seen.cursor)) {
      seen.cursor = Math.max(seen.cursor, message.cursor);
      if (message.ephemeral) seen.told.set(message.ts, message.text);
      if (message.ephemeral || message.threadTs !== undefined) continue;
      seen.messages.set(message.ts, message);
      for (const [id] of JSON.stringify(message.blocks).matchAll(/prop_[0-9a-z_]+/g)) {
        seen.cards.set(id, (seen.cards.get(id) ?? new Set()).add(message.ts));
      }
    }
    return seen;
  }
}

/** What one person sees in a channel. */
interface Seen {
  cursor: number;
  /** Those of the channel itself, by when they were posted. */
  readonly messages: Map<string, SeenMessage>;
  /** Which of them name a proposal. */
  readonly cards: Map<string, Set<string>>;
  /** What they alone were told. */
  readonly told: Map<string, string>;
}

/** Redis is not struck here, only slow on a busy machine. Whatever else goes wrong when one looks is a finding. */
function isUnavailable(error: unknown): boolean {
  return error instanceof StoreUnavailable;
}

/** A call that nobody knows the end of: only where its executor was killed or frozen. */
function wasInDoubt({ since }: Tracked, ranIn: number | undefined, hit: readonly Hit[]): boolean {
  return hit.some(({ pid, at }) => (ranIn === undefined ? at >= since : pid === ranIn));
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
  // The round before left its grant standing, and nobody had to be asked.
  if (record.card === undefined && cards.length === 0 && isUnderGrant(record)) return undefined;
  if (recorded === undefined) return 'has no card';
  if (hasButtons(recorded)) return 'its card still has buttons';
  if (!HEADLINE[status]?.test(recorded.text))
    return `its card says ${JSON.stringify(recorded.text.slice(0, 60))}`;
  // Where a replica died between Slack's answer and the note of it, and only there, a copy is left.
  const copies = cards.filter((card) => card !== recorded && hasButtons(card)).length;
  return copies > record.unseenCards ? `${copies} copies of its card still have buttons` : undefined;
}

function contextOf({ tenant, team }: Lane) {
  return {
    tenant,
    environment: 'production',
    agent: 'ledger-bot',
    principal: `slack:${team}/U0RITA`,
    run: 'sweep',
  };
}

function personOf({ team }: Lane, who: 0 | 1): string {
  return `slack:${team}/${APPROVERS[who]}`;
}

function named({ id, entry, lane }: Tracked): string {
  return `${entry} (${id}, ${lane.tenant})`;
}

function isUnderGrant({ termsText }: ProposalRecord): boolean {
  return parseTerms(termsText)?.basis.kind === 'grant';
}
