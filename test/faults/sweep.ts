import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import {
  type Change,
  PARTS,
  type PartName,
  type SweepInstallation,
  startSweepInstallation,
} from './sweep-installation.ts';
import { Pairs } from './sweep-pairs.ts';
import { type Aim, anyFired, areAlike, nameOf, Strike } from './sweep-strike.ts';
import { type Findings, SweepTraffic } from './sweep-traffic.ts';
import { tally } from './tally.ts';

const TRIES = 5;
/** Longer than any permit and lease lasts. */
const LONG_FREEZE_MS = 7_000;
const LONG_FREEZES = 0.06;

/** One fault after the other; or two at a time, in two parts. */
export type Way = 'alone' | 'pairs';
const WAYS: readonly Way[] = ['alone', 'pairs'];

interface Injected {
  readonly name: string;
  /** Of the table. */
  readonly row: string;
}

/** An installation with its people and agents. */
export class World {
  readonly installation: SweepInstallation;
  readonly traffic: SweepTraffic;
  readonly redis: Redis;
  failed = false;

  private constructor(installation: SweepInstallation, giveUpMs?: number) {
    this.installation = installation;
    this.traffic = new SweepTraffic(installation, giveUpMs);
    this.redis = new Redis(installation.redis.connectionOptions);
  }

  static async start(broken: readonly Change[] = [], giveUpMs?: number): Promise<World> {
    return new World(await startSweepInstallation(broken), giveUpMs);
  }

  /** `<part> <what> <nth>`, of everything that was passed by now. */
  listed(): string[] {
    const { parts } = this.installation;
    return PARTS.flatMap((name) => [...parts[name].passed()].map((place) => `${name} ${place}`));
  }

  async stop(): Promise<void> {
    await this.traffic.close();
    this.redis.disconnect();
    await this.installation.stop({ keep: this.failed });
  }
}

export interface SweepOptions {
  readonly random: () => number;
  /** Places that a part passed before anybody asked for anything. */
  readonly atStart: ReadonlySet<string>;
  readonly seconds: number;
  readonly points?: number;
  /** Of a fault's name: only such ones are injected, again and again. */
  readonly only?: string | undefined;
  /** So many faults in one installation, then everything must come to rest in it and be right. */
  readonly faultsARound: number;
  /** What is looked for, in a product that is broken: then it ends, and counts in no table. */
  readonly until?: RegExp;
}

/** The aims of all installations, taken from one queue for each way. */
export class Sweep {
  readonly problems: string[] = [];
  readonly #options: SweepOptions;
  readonly #began = performance.now();
  readonly #tries = new Map<string, number>();
  readonly #known = new Set<string>();
  readonly #places = new Set<string>();
  readonly #all: Aim[] = [];
  readonly #unreached = new Set<string>();
  /** Those that were reached at some time, in any order. */
  readonly #reached: Aim[] = [];
  readonly #pairs = new Pairs();
  readonly #alone = new Set<Aim>();
  readonly #paired = new Set<Aim>();
  readonly #queues: Record<Way, Aim[]> = { alone: [], pairs: [] };
  readonly #done: Record<Way, number> = { alone: 0, pairs: 0 };

  constructor(options: SweepOptions) {
    this.#options = options;
  }

  /** What was covered of what there is. */
  summary(): string {
    const minutes = ((performance.now() - this.#began) / 60_000).toFixed(1);
    const { alone, pairs } = this.#done;
    const covered = (of: readonly Aim[]) => {
      const count = (done: ReadonlySet<Aim>) => of.filter((aim) => done.has(aim)).length;
      return `${of.length}: ${count(this.#alone)} one by one and ${count(this.#paired)} in pairs`;
    };
    return (
      `kill sweep: ${alone + pairs} faults in ${minutes} minutes at ${this.#places.size} places. ` +
      `Of those where a part passes a place for the first time, ${covered(this.#all.filter(({ nth }) => nth === 1))}; of all, ${covered(this.#all)}; ` +
      `waited for in vain: ${this.#unreached.size}. ${this.#pairs.summary()}`
    );
  }

  unreached(): string[] {
    return [...this.#unreached].sort();
  }

  /** Rounds, for as long as there is something left to do. */
  async run(world: World, own: Way): Promise<void> {
    while (await this.round(world, own));
  }

  /** @param own what this world does, for as long as there is something of it. @returns whether there is more to do. */
  async round(world: World, own: Way): Promise<boolean> {
    const round: Injected[] = [];
    world.traffic.begin();
    const more = await this.#strikes(world, own, round);
    await this.#rest(world, round);
    return more && !this.#over();
  }

  /** @returns whether there is more to do. */
  async #strikes(world: World, own: Way, round: Injected[]): Promise<boolean> {
    while (!this.#over() && round.length < this.#options.faultsARound) {
      this.#enqueue(world);
      const pair = this.#isForPairs(own) ? this.#takePair() : undefined;
      const aim = pair === undefined ? this.#queues.alone.shift() : undefined;
      if (pair !== undefined) await this.#strikePair(world, pair, round);
      else if (aim !== undefined) await this.#strike(world, aim, round);
      else if (this.#options.only === undefined) return false;
      // What it aims at has not come into sight yet.
      else await sleep(200);
    }
    return true;
  }

  /** What a world does itself, unless there are earlier passes left of what others do. */
  #isForPairs(own: Way): boolean {
    const [alone, pairs] = [this.#nextTurn('alone'), this.#nextTurn('pairs')];
    return alone === pairs ? own === 'pairs' : pairs < alone;
  }

  #nextTurn(way: Way): number {
    return this.#queues[way][0]?.nth ?? Number.POSITIVE_INFINITY;
  }

  /** Undefined: there is none, or the sweep is aimed at one place. */
  #takePair(): readonly [Aim, Aim] | undefined {
    if (this.#options.only !== undefined) return undefined;
    const pair = this.#pairs.next(this.#queues.pairs, shuffled(this.#reached, this.#options.random));
    this.#queues.pairs = this.#queues.pairs.filter((aim) => pair?.includes(aim) !== true);
    return pair;
  }

  async #strike(world: World, aim: Aim, round: Injected[]): Promise<void> {
    const strike = await Strike.begin(world, this.#together('alone', aim));
    if ((await anyFired([strike], strike.patienceMs)) && strike.signal === 'SIGSTOP') await this.#hold();
    const met = await strike.end();
    if (met !== undefined) {
      this.#injected(met, rowOf(met), 'alone', round);
      this.#isDone('alone', met);
    }
    if (this.#options.only !== undefined) this.#queues.alone.push(aim);
    else this.#again('alone', strike, met === undefined ? strike.aims : []);
  }

  /**
   * What is seldom passed is waited for with all others like it that were waited for in vain: the first that is met is
   * struck. Not so what is passed often: a part that is struck wherever it goes next gets nowhere.
   */
  #together(way: Way, aim: Aim): readonly [Aim, ...Aim[]] {
    if (this.#triesOf(way, aim) === 0) return [aim];
    const others = this.#queues[way].filter((other) => this.#triesOf(way, other) > 0 && areAlike(other, aim));
    return [aim, ...others];
  }

  #triesOf(way: Way, aim: Aim): number {
    return this.#tries.get(nameIn(way, aim)) ?? 0;
  }

  /** Whichever is passed first: its part stays down or frozen until the other one is met as well. */
  async #strikePair(world: World, aims: readonly [Aim, Aim], round: Injected[]): Promise<void> {
    const both = await Promise.all(aims.map((aim) => Strike.begin(world, this.#together('pairs', aim))));
    if (await anyFired(both, Math.max(...both.map(({ patienceMs }) => patienceMs)))) {
      const waiting = both.filter(({ fired }) => !fired);
      if (waiting.length === 0 || (await anyFired(waiting))) await this.#hold();
    }
    const waiting = both.filter(({ fired }) => !fired);
    for (const strike of waiting) await strike.end();
    // Even so late: the other part is still down.
    const paired = waiting.length < 2 && both.every(({ fired }) => fired);
    const down = both.filter((strike) => !waiting.includes(strike));
    for (const strike of shuffled(down, this.#options.random)) await strike.end();
    if (paired) this.#pairs.met(...aims);
    const met = both.flatMap(({ fired }) => fired ?? []);
    // The other one was waited for in vain.
    if (met.length === 1) for (const aim of met) this.#isDone('alone', aim);
    for (const aim of met) {
      if (paired) this.#isDone('pairs', aim);
      this.#injected(aim, paired ? PAIRS_ROW : rowOf(aim), 'pairs', round);
    }
    for (const strike of both) {
      const inVain = strike.fired === undefined ? strike.aims : [strike.fired];
      this.#again('pairs', strike, paired ? [] : inVain);
    }
  }

  #doneIn(way: Way): Set<Aim> {
    return way === 'alone' ? this.#alone : this.#paired;
  }

  #isDone(way: Way, aim: Aim): void {
    this.#doneIn(way).add(aim);
    this.#queues[way] = this.#queues[way].filter((other) => other !== aim);
    this.#unreached.delete(nameIn(way, aim));
  }

  #injected(aim: Aim, row: string, way: Way, round: Injected[]): void {
    round.push({ name: nameOf(aim), row });
    this.#done[way] += 1;
    if (!this.#reached.includes(aim)) this.#reached.push(aim);
    if (this.#options.until === undefined) tally(row).injected();
  }

  /** What is left of a strike's aims, of which some were waited for in vain. */
  #again(way: Way, { aims: [first, ...others] }: Strike, inVain: readonly Aim[]): void {
    const done = this.#doneIn(way);
    const stillThere = others.filter((aim) => this.#queues[way].includes(aim));
    this.#queues[way] = this.#queues[way].filter((aim) => !stillThere.includes(aim));
    for (const aim of [...stillThere, first]) {
      // Also one that was in a pair before, and was only lent to this one.
      if (done.has(aim)) continue;
      const name = nameIn(way, aim);
      if (inVain.includes(aim)) this.#tries.set(name, this.#triesOf(way, aim) + 1);
      if (this.#triesOf(way, aim) < TRIES) this.#queue(way, [aim]);
      else this.#unreached.add(name);
    }
  }

  /** How long a part stays as it is. */
  async #hold(): Promise<void> {
    const { random } = this.#options;
    // Mostly a hiccup.
    await sleep(random() < LONG_FREEZES ? LONG_FREEZE_MS : 200 + random() * 1_000);
  }

  #over(): boolean {
    const { seconds, points = Number.POSITIVE_INFINITY, until } = this.#options;
    if (until?.test(this.problems.join('\n'))) return true;
    if (this.#done.alone + this.#done.pairs >= points) return true;
    return performance.now() - this.#began > seconds * 1_000;
  }

  /** Also those that came into sight by now: what a part does after a fault is swept as well. */
  #enqueue(world: World): void {
    const { only, random, atStart } = this.#options;
    const fresh: Aim[] = [];
    for (const place of world.listed()) {
      if (this.#known.has(place)) continue;
      this.#known.add(place);
      const [, part, what, nth] = /^(\S+) (.*) (\d+)$/.exec(place) as string[];
      for (const when of ['before', 'after'] as const) {
        for (const signal of ['SIGKILL', 'SIGSTOP'] as const) {
          const aim: Aim = {
            part: part as PartName,
            what: what ?? '',
            when,
            nth: Number(nth),
            signal,
            atStart: atStart.has(place),
          };
          if (only !== undefined && !nameOf(aim).includes(only)) continue;
          fresh.push(aim);
          this.#places.add(place);
        }
      }
    }
    if (fresh.length === 0) return;
    this.#all.push(...fresh);
    for (const way of WAYS) this.#queue(way, shuffled(fresh, random));
  }

  /** First each place once, in any order; then its later passes. */
  #queue(way: Way, aims: readonly Aim[]): void {
    this.#queues[way] = [...this.#queues[way], ...aims].toSorted((a, b) => a.nth - b.nth);
  }

  /** Everything comes to rest, and is looked at. */
  async #rest(world: World, round: readonly Injected[]): Promise<void> {
    const { installation, traffic } = world;
    await traffic.pause();
    const found = await traffic.check();
    const { lost, doubled, stuck, auditVerified, checked } = found;
    console.log(
      `${this.summary()}. ${checked} proposals looked at: lost ${lost.length}, doubled ${doubled.length}, stuck ${stuck.length}, audit ${auditVerified ? 'verified' : 'NOT VERIFIED'}`,
    );
    const problems = problemsIn(found);
    this.problems.push(...problems);
    if (this.#options.until !== undefined) return;
    if (problems.length > 0) {
      console.log(`${problems.join('\n')}\nafter:\n${round.map(({ name }) => name).join('\n')}`);
      console.log(`the logs are kept in ${installation.directory}`);
      world.failed = true;
    }
    // One of the round did it: which one, the lines above help to find.
    const rows = new Set(round.map(({ row }) => row));
    const row = tally(round[0]?.row ?? 'kill sweep: nothing was injected');
    if (lost.length > 0) row.lost(lost.length);
    if (doubled.length > 0) row.doubled(doubled.length);
    if (stuck.length > 0) row.stuck(stuck.length);
    for (const each of rows) tally(each).audit(auditVerified);
  }
}

function problemsIn({ lost, doubled, stuck, auditVerified, auditSays }: Findings): string[] {
  return [...lost, ...doubled, ...stuck, ...(auditVerified ? [] : [`audit: ${auditSays}`])];
}

const PAIRS_ROW = 'kill sweep: pairs, in two parts at a time';

function rowOf({ signal, part }: Aim): string {
  return `kill sweep: ${signal}, ${part}`;
}

function nameIn(way: Way, aim: Aim): string {
  return way === 'pairs' ? `${nameOf(aim)}, in a pair` : nameOf(aim);
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const left = [...items];
  return items.map(() => left.splice(Math.floor(random() * left.length), 1)[0] as T);
}
