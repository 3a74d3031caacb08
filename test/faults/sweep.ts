import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import {
  type Change,
  type Fault,
  PARTS,
  type PartName,
  type SweepInstallation,
  type SweptPart,
  startSweepInstallation,
} from './sweep-installation.ts';
import { type Findings, SweepTraffic } from './sweep-traffic.ts';
import { tally } from './tally.ts';

/** Where nothing passes a place for so long, another one is tried, and this one again later. */
const REACHED_WITHIN_MS = 8_000;
const TRIES = 3;
/** Longer than any permit and lease lasts. */
const LONG_FREEZE_MS = 7_000;
const LONG_FREEZES = 0.06;

/** One fault after the other; or one in each part at a time, whenever each comes by. */
export type Way = 'alone' | 'together';
const WAYS: readonly Way[] = ['alone', 'together'];

export interface Aim extends Fault {
  readonly part: PartName;
  /** Passed while the part starts. */
  readonly atStart: boolean;
}

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
  readonly #unreached: string[] = [];
  readonly #queues: Record<Way, Aim[]> = { alone: [], together: [] };
  readonly #done: Record<Way, number> = { alone: 0, together: 0 };
  #aims = 0;

  constructor(options: SweepOptions) {
    this.#options = options;
  }

  /** What was covered of what there is. */
  summary(): string {
    const minutes = ((performance.now() - this.#began) / 60_000).toFixed(1);
    const { alone, together } = this.#done;
    const never = new Set(this.#unreached);
    return (
      `kill sweep: ${alone + together} faults in ${minutes} minutes. Of the ${this.#aims} that ${this.#places.size} places make, ` +
      `one by one: ${alone}, several parts at a time: ${together}; waited for in vain: ${never.size}`
    );
  }

  unreached(): string[] {
    return [...new Set(this.#unreached)].sort();
  }

  async run(world: World, way: Way): Promise<void> {
    let ended = false;
    while (!ended) {
      const round: Injected[] = [];
      world.traffic.begin();
      const hands = way === 'alone' ? [undefined] : PARTS;
      const left = await Promise.all(hands.map((part) => this.#hand(world, way, part, round)));
      ended = left.every((more) => !more) || this.#over();
      await this.#rest(world, round);
      ended ||= this.#over();
    }
  }

  /** @returns whether there is more to do. */
  async #hand(world: World, way: Way, part: PartName | undefined, round: Injected[]): Promise<boolean> {
    while (!this.#over() && round.length < this.#options.faultsARound) {
      const taken = this.#take(world, way, part);
      if (taken === undefined) {
        if (this.#options.only === undefined) return false;
        // What it aims at has not come into sight yet.
        await sleep(200);
        continue;
      }
      const { aim, of } = taken;
      const name = nameOf(aim);
      if (await this.#inject(world, aim)) {
        const row = rowOf(aim, way);
        round.push({ name, row });
        this.#done[of] += 1;
        if (this.#options.until === undefined) tally(row).injected();
        if (this.#options.only !== undefined) this.#queues[of].push(aim);
        continue;
      }
      const tries = (this.#tries.get(name) ?? 0) + 1;
      this.#tries.set(name, tries);
      if (tries < TRIES || this.#options.only !== undefined) this.#queues[of].push(aim);
      else this.#unreached.push(name);
    }
    return true;
  }

  #over(): boolean {
    const { seconds, points = Number.POSITIVE_INFINITY, until } = this.#options;
    if (until?.test(this.problems.join('\n'))) return true;
    if (this.#done.alone + this.#done.together >= points) return true;
    return performance.now() - this.#began > seconds * 1_000;
  }

  /** Where one way has nothing left, the other one's. */
  #take(world: World, way: Way, part: PartName | undefined): { aim: Aim; of: Way } | undefined {
    this.#enqueue(world);
    for (const of of [way, ...WAYS.filter((other) => other !== way)]) {
      const queue = this.#queues[of];
      const at = queue.findIndex((aim) => part === undefined || aim.part === part);
      const [aim] = at < 0 ? [] : queue.splice(at, 1);
      if (aim !== undefined) return { aim, of };
    }
    return undefined;
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
    this.#aims += fresh.length;
    for (const way of WAYS) {
      // First each place once, in any order; then its later passes.
      this.#queues[way] = [...this.#queues[way], ...shuffled(fresh, random)].toSorted(
        (a, b) => a.nth - b.nth,
      );
    }
  }

  /** @returns whether the place was reached. Afterwards the part runs again. */
  async #inject(world: World, aim: Aim): Promise<boolean> {
    const part = world.installation.parts[aim.part];
    // The whole text of a script is sent where Redis has lost it.
    if (aim.what.endsWith('(eval)')) await world.redis.script('FLUSH');
    let id = -1;
    if (aim.atStart) {
      await part.stop();
      let up = false;
      const started = part
        .start(aim, (given) => {
          id = given;
        })
        .finally(() => {
          up = true;
        });
      // However slowly it starts: what froze on the way is thawed by nobody else.
      while (!up && !part.hasFired(id)) await sleep(10);
      if (await reached(part, () => id)) await this.#afterwards(aim, part);
      await started;
    } else {
      id = part.arm(aim);
      if (await reached(part, () => id)) await this.#afterwards(aim, part);
    }
    if (!part.hasFired(id)) {
      await part.disarm(id);
      if (part.hasFired(id)) await this.#afterwards(aim, part);
    }
    if (!part.running) await part.start();
    return part.hasFired(id);
  }

  async #afterwards({ signal }: Aim, part: SweptPart): Promise<void> {
    if (signal === 'SIGKILL') return part.ended();
    const { random } = this.#options;
    // Mostly a hiccup.
    await sleep(random() < LONG_FREEZES ? LONG_FREEZE_MS : 200 + random() * 1_000);
    part.thaw();
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

async function reached(part: SweptPart, fault: () => number): Promise<boolean> {
  const until = performance.now() + REACHED_WITHIN_MS;
  while (performance.now() < until) {
    if (part.hasFired(fault())) return true;
    await sleep(10);
  }
  return part.hasFired(fault());
}

function rowOf({ signal, part }: Aim, way: Way): string {
  return way === 'together' ? 'kill sweep: several parts at a time' : `kill sweep: ${signal}, ${part}`;
}

function nameOf({ part, what, when, nth, signal }: Aim): string {
  return `${signal} ${part} ${when} ${what} ${nth}`;
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const left = [...items];
  return items.map(() => left.splice(Math.floor(random() * left.length), 1)[0] as T);
}
