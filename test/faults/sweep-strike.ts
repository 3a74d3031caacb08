import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { Fault, PartName, SweepInstallation, SweptPart } from './sweep-installation.ts';

/** Where nothing passes a place for so long, another one is tried, and this one again later. */
const REACHED_WITHIN_MS = 8_000;
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

/** One fault, from when a part is told of it until the part runs again. */
export class Strike {
  readonly aim: Aim;
  readonly #part: SweptPart;
  #id = -1;
  #starting: Promise<void> | undefined;
  #isUp = true;

  private constructor(aim: Aim, part: SweptPart) {
    this.aim = aim;
    this.#part = part;
  }

  static async begin(
    { installation, redis }: { installation: SweepInstallation; redis: Redis },
    aim: Aim,
  ): Promise<Strike> {
    const part = installation.parts[aim.part];
    const strike = new Strike(aim, part);
    // The whole text of a script is sent where Redis has lost it.
    if (aim.what.endsWith('(eval)')) await redis.script('FLUSH');
    if (!aim.atStart) {
      strike.#id = part.arm(aim);
      return strike;
    }
    await part.stop();
    strike.#isUp = false;
    strike.#starting = part
      .start(aim, (id) => {
        strike.#id = id;
      })
      .finally(() => {
        strike.#isUp = true;
      });
    // Whoever ends the strike hears of it.
    strike.#starting.catch(() => {});
    return strike;
  }

  get fired(): boolean {
    return this.#part.hasFired(this.#id);
  }

  /** However slowly it starts: only from then on somebody waits for it in vain. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** Afterwards the part runs again, and it fires no more. @returns whether it has. */
  async end(): Promise<boolean> {
    if (!this.fired) await this.#part.disarm(this.#id);
    if (this.fired) {
      if (this.aim.signal === 'SIGKILL') await this.#part.ended();
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
export async function anyFired(strikes: readonly Strike[]): Promise<boolean> {
  let until = performance.now() + REACHED_WITHIN_MS;
  while (performance.now() < until) {
    if (strikes.some(({ fired }) => fired)) return true;
    if (strikes.some(({ isUp }) => !isUp)) until = performance.now() + REACHED_WITHIN_MS;
    await sleep(10);
  }
  return strikes.some(({ fired }) => fired);
}
