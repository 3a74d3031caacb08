import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { Fault, PartName, SweepInstallation, SweptPart } from './sweep-installation.ts';

/** Where nothing passes a place for so long, another one is tried, and this one again later. */
const REACHED_WITHIN_MS = 2_000;
/** Later it is one aim of many, each of which is passed seldom. */
const ONE_REACHED_WITHIN_MS = 20_000;
/** What says that it freezes is not yet frozen. */
const FREEZES_WITHIN_MS = 200;

export interface Aim extends Fault {
  readonly part: PartName;
  /** Passed while the part starts. */
  readonly atStart: boolean;
}

export function nameOf({ part, what, when, nth, signal }: Aim): string {
  return `${signal} ${part} ${when} ${what} ${nth}`;
}

/** What aims of one strike have in common. */
export function areAlike(one: Aim, other: Aim): boolean {
  const { part, signal, nth, atStart } = one;
  return (
    other.part === part &&
    other.signal === signal &&
    other.nth === nth &&
    other.atStart === atStart &&
    isOfLostScript(other) === isOfLostScript(one)
  );
}

/** The whole text of a script is sent where Redis has lost it; what is sent otherwise is refused then. */
function isOfLostScript({ what }: Aim): boolean {
  return what.endsWith('(eval)');
}

/** One fault, whichever of its aims is met first; from when a part is told of it until the part runs again. */
export class Strike {
  readonly aims: readonly [Aim, ...Aim[]];
  readonly #part: SweptPart;
  #ids: readonly number[] = [];
  #starting: Promise<void> | undefined;
  #isUp = true;

  private constructor(aims: readonly [Aim, ...Aim[]], part: SweptPart) {
    this.aims = aims;
    this.#part = part;
  }

  /** @param aims all alike. */
  static async begin(
    { installation, redis }: { installation: SweepInstallation; redis: Redis },
    aims: readonly [Aim, ...Aim[]],
  ): Promise<Strike> {
    const [{ part: name, atStart }] = aims;
    const part = installation.parts[name];
    const strike = new Strike(aims, part);
    if (isOfLostScript(aims[0])) await redis.script('FLUSH');
    if (!atStart) {
      strike.#ids = part.arm(aims);
      return strike;
    }
    await part.stop();
    strike.#isUp = false;
    strike.#starting = part
      .start(aims, (ids) => {
        strike.#ids = ids;
      })
      .finally(() => {
        strike.#isUp = true;
      });
    // Whoever ends the strike hears of it.
    strike.#starting.catch(() => {});
    return strike;
  }

  /** As long as nothing is down. */
  get patienceMs(): number {
    return this.aims.length > 1 ? ONE_REACHED_WITHIN_MS : REACHED_WITHIN_MS;
  }

  get signal(): Aim['signal'] {
    return this.aims[0].signal;
  }

  get fired(): Aim | undefined {
    return this.aims[this.#ids.findIndex((id) => this.#part.hasFired(id))];
  }

  /** However slowly it starts: only from then on somebody waits for it in vain. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** Afterwards the part runs again, and it fires no more. @returns what it met. */
  async end(): Promise<Aim | undefined> {
    if (this.fired === undefined) await this.#part.disarm(this.#ids);
    if (this.fired !== undefined) {
      if (this.signal === 'SIGKILL') await this.#part.ended();
      else {
        await sleep(FREEZES_WITHIN_MS);
        this.#part.thaw();
      }
    }
    await this.#starting;
    if (!this.#part.running) await this.#part.start();
    return this.fired;
  }
}

/** Until one of them has fired, for as long as it is worth waiting. */
export async function anyFired(
  strikes: readonly Strike[],
  withinMs: number = REACHED_WITHIN_MS,
): Promise<boolean> {
  let until = performance.now() + withinMs;
  while (performance.now() < until) {
    if (strikes.some(({ fired }) => fired)) return true;
    if (strikes.some(({ isUp }) => !isUp)) until = performance.now() + withinMs;
    await sleep(10);
  }
  return strikes.some(({ fired }) => fired);
}
