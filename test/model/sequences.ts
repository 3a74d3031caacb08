import fc from 'fast-check';
import type { Redis } from 'ioredis';
import { expect, inject, it } from 'vitest';
import type { RedisForTests } from '../redis-for-tests.ts';
import { everythingEnds, promisesHold, type Seen } from './promises.ts';
import { type Sequence, type Story, sequenceOf, take, type Weights } from './steps.ts';
import { World } from './world.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** From `npm run soak`: how long, from which seed, and where in it; in `npm test` there is none. */
    soak?: { seconds: number; seed: number; path: string | undefined };
  }
}

/** The same sequences each time: new ones are for `npm run soak` to find. */
const SEED_IN_TESTS = 20_261_122;

/** How often what occurred, over all sequences of a kind. */
class Tallies {
  readonly #counts = new Map<string, number>();

  add(what: string, times = 1): void {
    if (times > 0) this.#counts.set(what, this.of(what) + times);
  }

  of(what: string): number {
    return this.#counts.get(what) ?? 0;
  }

  toString(): string {
    const first = ['sequences', 'steps', 'commands to Redis', 'runs', 'processes that died'];
    const others = [...this.#counts.keys()].filter((what) => !first.includes(what)).sort();
    return [...first, ...others].map((what) => `${this.of(what)} ${what}`).join(', ');
  }
}

export interface Kind {
  readonly name: string;
  readonly weights: Weights;
  readonly stories: Partial<Record<Story, number>>;
  /** Each process with a connection and a worker of its own, and jobs through the real queue: slow. */
  readonly queued?: true;
  /** Sequences in `npm test`. */
  readonly sequences: number;
  /** Groups of steps, and stories, at most. */
  readonly most: number;
  /** What has to occur in them, or they test nothing: by its name in the tallies, at least so often. */
  readonly reaches: Readonly<Record<string, number>>;
}

/** One sequence from the first step to the last promise. @throws ModelBroken */
async function play({ redis, cable }: Place, sequence: Sequence, tallies: Tallies): Promise<void> {
  await redis.flushdb('SYNC');
  const world = new World(redis, sequence, cable);
  try {
    await turnOn(world);
    for (const group of sequence.groups) await Promise.all(group.map((step) => take(world, step)));
    await world.quiet();
    const seen = await promisesHold(world);
    count(tallies, world, sequence, seen);
    await everythingEnds(world, seen);
    tallies.add('commands to Redis', world.traffic.commands);
  } finally {
    world.close();
  }
}

async function turnOn(world: World): Promise<void> {
  const { writeSwitch } = world.part(0);
  const on = await writeSwitch.on({ scope: {}, by: 'cli:model', why: 'begin', expectedEpoch: 0 });
  if (!on.ok) throw new Error(`could not turn writes on: ${on.refusal}`);
}

function count(tallies: Tallies, world: World, { groups }: Sequence, { entries, proposals }: Seen): void {
  tallies.add('sequences');
  tallies.add('steps', groups.flat().length);
  tallies.add('runs', world.told.filter(({ is }) => is === 'started').length);
  tallies.add('answers that were lost', world.traffic.lost);
  tallies.add('processes that died', world.everyPart.length - world.parts.length);
  for (const { kind } of entries) tallies.add(kind);
  for (const { basis } of proposals.values()) tallies.add(`by ${basis}`);
  for (const told of world.told) if (told.is === 'not counted') tallies.add(`refused: ${told.refusal}`);
}

function writtenOut({ order, shards, groups }: Sequence): string {
  const lines = groups.map(
    (group) => `  ${group.map((step) => JSON.stringify(step)).join('\n    and at once ')}`,
  );
  return [`the order ${order}, ${shards} shards:`, ...lines].join('\n');
}

/** A kind of sequences, as a test: in `npm test` so many from one seed, in `npm run soak` for as long as asked. */
export function sequencesOf(server: RedisForTests, kind: Kind, title: string): void {
  const asked = inject('soak');
  const ms = (asked?.seconds ?? 0) * 1_000;
  it(title, { timeout: ms + 600_000 }, async () => {
    const tallies = new Tallies();
    const ends = performance.now() + ms;
    const first = asked?.seed ?? SEED_IN_TESTS;
    const telling = asked && setInterval(() => console.log(`${kind.name}, so far: ${tallies}`), PROGRESS_MS);
    let over = false;
    const lane = async (place: number) => {
      const redis = server.connect({ db: place });
      const cable = kind.queued ? { ...server.connectionOptions, db: place } : undefined;
      for (let seed = first + place; !over; seed += LANES) {
        await round(kind, {
          redis,
          cable,
          seed,
          path: asked?.path,
          tallies,
          ended: () => over || (ms > 0 && performance.now() > ends),
        });
        if (asked?.path !== undefined || performance.now() >= ends) return;
      }
    };
    const lanes = Array.from({ length: asked?.path === undefined ? LANES : 1 }, (_, place) => lane(place));
    try {
      await Promise.all(lanes);
    } finally {
      over = true;
      clearInterval(telling);
      await Promise.allSettled(lanes);
    }
    if (asked !== undefined) {
      console.log(`${kind.name}, from seed ${first}: ${tallies}`);
      return;
    }
    for (const [what, least] of Object.entries(kind.reaches)) {
      expect(tallies.of(what), `${what}, of ${tallies}`).toBeGreaterThanOrEqual(least);
    }
  });
}

const PROGRESS_MS = 10_000;
/** Sequences at the same time, each in a database of its own: most of the time one waits, for Redis or for D. */
const LANES = 6;

/** A database, and how processes reach it where they have connections of their own. */
interface Place {
  readonly redis: Redis;
  readonly cable: World['cable'];
}

interface Round extends Place {
  readonly seed: number;
  readonly path: string | undefined;
  readonly tallies: Tallies;
  ended(): boolean;
}

/** With a seed of its own, so that a failure is found again within its round and not after an hour. */
async function round(kind: Kind, { redis, cable, seed, path, tallies, ended }: Round): Promise<void> {
  const property = fc.asyncProperty(sequenceOf(kind), async (sequence) => {
    if (!ended()) await play({ redis, cable }, sequence, tallies);
  });
  const numRuns = Math.ceil(kind.sequences / LANES);
  const details = await fc.check(property, { seed, numRuns, ...(path === undefined ? {} : { path }) });
  if (details.counterexample === null) return;
  const [sequence] = details.counterexample;
  const again = `npm run soak -- 60 --kind ${kind.name} --seed ${seed} --path ${details.counterexamplePath}`;
  throw new Error(`${details.errorInstance}\nagain: ${again}\n${writtenOut(sequence)}`, {
    cause: details.errorInstance,
  });
}
