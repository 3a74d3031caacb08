import type { Logger } from 'pino';
import type { Attester } from '../core/approval/attester.ts';

/** Well below a renewal: what a decision left unattested does not wait for one. */
const ROUND_MS = 1_000;

/** One round after the other, in each replica; the store gives each proposal to one of them. */
export class AttestationRounds {
  readonly #attester: Pick<Attester, 'sweep'>;
  readonly #logger: Logger;
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> = Promise.resolve();
  #stopped = false;
  #failing = false;

  constructor(attester: Pick<Attester, 'sweep'>, logger: Logger) {
    this.#attester = attester;
    this.#logger = logger;
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.#round = this.#run().finally(() => {
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
    try {
      await this.#attester.sweep((proposal, err) =>
        this.#logger.warn({ proposal, err }, 'the approvers of a call were not looked at again; it waits'),
      );
      this.#failing = false;
    } catch (err) {
      // Once an outage, not once a second.
      if (!this.#failing)
        this.#logger.warn({ err }, 'approvers are not looked at again; approved calls wait');
      this.#failing = true;
    }
  }
}
