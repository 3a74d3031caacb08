import { once } from 'node:events';
import { createConnection } from 'node:net';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { drawnFrom } from './seeded.ts';
import { Sweep, type Way, World } from './sweep.ts';
import { NOT_PASSED, writesInSource } from './writes-in-source.ts';

/** What some scripts are for is the time after a fault: these make it come. */
const MADE_TO_COME = [
  ['give-back', 'SIGSTOP executor after redis script admit 1'],
  ['declare-unknown', 'SIGKILL executor after tool execute 1'],
  ['card-seen', 'SIGKILL approvals after slack chat.postMessage 1'],
] as const;
const COMES_WITHIN_S = 60;
const TURNS = 5;

/** Mostly one waits: for a part that starts, a lease that lapses, Slack's next turn. */
const WAYS: readonly Way[] = ['alone', 'alone', 'pairs', 'pairs'];
const FAULTS_A_ROUND = 60;
/** Then it is begun anew: what people and tools remember of it grows with every call. */
const ROUNDS_A_WORLD = 2;
/** All of it takes longer: --seconds 3600. */
const SECONDS = 480;

const seconds = Number(process.env.COUNTERSIGN_FAULTS_SECONDS ?? SECONDS);
const points = Number(process.env.COUNTERSIGN_FAULTS_POINTS ?? Number.POSITIVE_INFINITY);
const seed = Number(process.env.COUNTERSIGN_FAULTS_SEED ?? Date.now() % 1_000_000);
const only = process.env.COUNTERSIGN_FAULTS_ONLY;

let worlds: World[] = [];
let atStart: ReadonlySet<string>;

beforeAll(async () => {
  for (const _ of WAYS) worlds.push(await World.start());
  atStart = new Set(listed());
  for (const { traffic } of worlds) await traffic.arm();
});
afterAll(async () => {
  for (const world of worlds) await world.stop();
  worlds = [];
});

describe('the kill sweep', () => {
  it('passes every write that there is, or says why not', async () => {
    const [world] = worlds as [World];
    const executed = await plainCommandsOf(world);
    const passes = (write: string) => listed().some((place) => afterPart(place).startsWith(`${write} `));
    const never = () => writesInSource().filter((write) => !passes(write));
    const forgotten = () => never().filter((write) => NOT_PASSED[write] === undefined);
    for (const [name, fault] of MADE_TO_COME) {
      for (let tries = 0; tries < 5 && !passes(`redis script ${name}`); tries += 1) {
        const sweep = new Sweep({
          ...{ random: drawnFrom(seed), atStart, seconds: COMES_WITHIN_S },
          ...{ only: fault, points: 1, faultsARound: 1 },
        });
        await sweep.run(world, 'alone');
        expect(sweep.problems).toEqual([]);
      }
    }
    // What one executor did not meet in one turn, because the other one did, it meets in the next.
    for (let turn = 0; turn === 0 || (turn < TURNS && forgotten().length > 0); turn += 1) {
      await world.traffic.once();
      expect(await world.traffic.check()).toMatchObject({
        ...{ lost: [], doubled: [], stuck: [], auditVerified: true },
      });
    }
    const passed = listed();
    console.log(`kill sweep: ${passed.length} places:\n${passed.join('\n')}`);
    expect(passed.join('\n')).not.toMatch(/ redis unknown /);
    expect(forgotten()).toEqual([]);
    expect(Object.keys(NOT_PASSED).filter((write) => !never().includes(write))).toEqual([]);
    // And what Redis was told to write is what the places tell of.
    expect((await executed()).filter((name) => !passes(`redis ${name}`))).toEqual([]);
  }, 900_000);

  it(
    'loses nothing, doubles nothing and leaves nothing stuck, wherever a part is killed or frozen',
    async () => {
      const again = 'npm run faults -- test/faults/kill-sweep.faults.ts --seed';
      console.log(`kill sweep: seed ${seed}; the same order again: ${again} ${seed}`);
      const sweep = new Sweep({
        ...{ random: drawnFrom(seed), atStart, seconds, points },
        ...{ only, faultsARound: FAULTS_A_ROUND },
      });
      await Promise.all(WAYS.map((way, i) => sweptBy(sweep, way, i)));
      console.log(`${sweep.summary()}\n${sweep.unreached().join('\n')}`);
      expect(sweep.problems).toEqual([]);
    },
    24 * 3_600_000,
  );
});

async function sweptBy(sweep: Sweep, way: Way, i: number): Promise<void> {
  for (let rounds = 1; ; rounds += 1) {
    const world = worlds[i] as World;
    if (!(await sweep.round(world, way))) return;
    if (rounds % ROUNDS_A_WORLD > 0) continue;
    await world.stop();
    const fresh = await World.start();
    worlds[i] = fresh;
    await fresh.traffic.arm();
  }
}

function listed(): string[] {
  return [...new Set(worlds.flatMap((world) => world.listed()))].sort();
}

function afterPart(place: string): string {
  return place.slice(place.indexOf(' ') + 1);
}

/** Those that write, are no scripts, and were carried out until it is asked, as Redis itself says. */
async function plainCommandsOf({ installation, redis }: World): Promise<() => Promise<string[]>> {
  const monitor = createConnection(installation.redis.socketPath);
  onTestFinished(() => void monitor.destroy());
  const seen = new Set<string>();
  const lines = createInterface({ input: monitor });
  lines.on('line', (line) => {
    const [, source, name = ''] = /^\+[\d.]+ \[\d+ (\S+)\] "([\w-]+)"/.exec(line) ?? [];
    if (source !== undefined && source !== 'lua') seen.add(name.toLowerCase());
  });
  monitor.write('MONITOR\r\n');
  await once(lines, 'line');
  return async () => {
    const known = (await redis.command('INFO', ...seen)) as ([string, number, string[]] | null)[];
    const writing = known.flatMap((command) => (command?.[2].includes('write') ? [command[0]] : []));
    expect(writing).not.toEqual([]);
    return writing.sort();
  };
}
