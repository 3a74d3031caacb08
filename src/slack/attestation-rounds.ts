import type { Logger } from 'pino';
import type { Attester } from '../core/approval/attester.ts';
import { Outage } from '../core/outage.ts';

/** Well below a renewal: what a decision left unattested does not wait for one. */
const ROUND_MS = 1_000;

/** One round after the other, in each replica; the store gives each proposal to one of them. */
export class AttestationRounds {
  readonly #attester: Pick<Attester, 'sweep'>;
  readonly #logger: Logger;
  readonly #outage: Outage;
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(attester: Pick<Attester, 'sweep'>, logger: Logger) {
    this.#attester = attester;
    this.#logger = logger;
    this.#outage = new Outage(logger, {
      began: 'approvers are not looked at again; approved calls wait',
      over: 'approvers are looked at again',
    });
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.#round = this.#outage
        .attempt(() => this.#run(), undefined)
        .finally(() => {
          if (!this.#stopped) this.start();
        });
    }, ROUND_MS);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#round;
  }

  async #run(): Promise<void> {
    await this.#attester.sweep((proposal, err) =>
      this.#logger.warn({ proposal, err }, 'the approvers of a call were not looked at again; it waits'),
    );
  }
}
