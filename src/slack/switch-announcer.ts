import type { Logger } from 'pino';
import { Outage } from '../core/outage.ts';
import type { PolicyHolder } from '../core/policy/policy-source.ts';
import { describeScope, type SwitchScope } from '../core/switch/scope.ts';
import type { ClaimedNotice, SwitchNotice, SwitchNotices } from '../core/switch/switch-notice.ts';
import type { WriteSwitch } from '../core/switch/write-switch.ts';
import { rateLimitedForMs, slackError, type WorkspaceClients } from './clients.ts';
import type { InFlight } from './in-flight.ts';
import { onCommand, operatorText, scopeText, whyBlocks, whyFor } from './switch-wording.ts';
import { code, type KnownBlock, localTime, ourSection } from './wording.ts';

export interface SwitchAnnouncerParts {
  readonly notices: SwitchNotices;
  readonly switch: WriteSwitch;
  readonly policy: PolicyHolder;
  readonly workspaceOf: (team: string) => WorkspaceClients | undefined;
  /** One message of our own, in its turn. */
  readonly post: (
    workspace: WorkspaceClients,
    channel: string,
    text: string,
    blocks: KnownBlock[],
  ) => Promise<void>;
  readonly inFlight: InFlight;
  readonly logger: Logger;
}

const POLL_MS = 1_000;
const AT_ONCE = 10;
/** Longer than a message waits for its turn in a channel, and for Slack. */
const LEASE_MS = 120_000;
const RETRY_MS = { first: 1_000, most: 300_000 } as const;
/** About an hour of trying; what happened an hour ago helps nobody any more. */
const MOST_FAILURES = 20;

/**
 * Tells the channels of each flip of the switch, whoever made it and from wherever, and reminds of what was switched off
 * for a time. What there is to tell stands in Redis; of all replicas one takes it.
 */
export class SwitchAnnouncer {
  readonly #parts: SwitchAnnouncerParts;
  readonly #claiming: Outage;
  #stopped = false;
  #wake: () => void = () => {};
  #running: Promise<void> = Promise.resolve();

  constructor(parts: SwitchAnnouncerParts) {
    this.#parts = parts;
    this.#claiming = new Outage(parts.logger, {
      began: 'what the channels have to be told of the switch was not read',
      over: 'what the channels have to be told of the switch is read again',
    });
  }

  start(): void {
    this.#running = this.#run();
  }

  /** A message that waits for its turn is left to whoever claims it next. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    await this.#running;
  }

  /** The switch was flipped just now. */
  wake(): void {
    this.#wake();
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const pause = this.#pause();
      const { notices } = this.#parts;
      const claimed = await this.#claiming.attempt(() => notices.claim(AT_ONCE, LEASE_MS), []);
      for (const notice of claimed) {
        this.#parts.inFlight
          .track(this.#handle(notice))
          .catch((error: unknown) =>
            this.#parts.logger.warn({ err: error }, 'a notice of the switch was not handed back'),
          );
      }
      await pause;
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, POLL_MS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #handle(claimed: ClaimedNotice): Promise<void> {
    const { notices } = this.#parts;
    const { notice, shard } = claimed;
    if (notice.place !== undefined) return this.#tell(claimed, notice.place);
    const due = notice.kind !== 'reminder' || (await this.#isStillOff(notice));
    await notices.split(claimed, due ? this.#channelsOf(notice.scope, shard) : []);
    this.#wake();
  }

  async #tell(claimed: ClaimedNotice, { team, channel }: { team: string; channel: string }): Promise<void> {
    const { notices, workspaceOf, post } = this.#parts;
    const workspace = workspaceOf(team);
    const { text, blocks } = drawNotice(claimed.notice, team);
    try {
      if (workspace === undefined) throw new Error(`no bot token is set for the workspace ${team}`);
      await post(workspace, channel, text, blocks);
    } catch (error) {
      return this.#failed(claimed, error);
    }
    await notices.done(claimed);
  }

  async #failed(claimed: ClaimedNotice, error: unknown): Promise<void> {
    const failures = (claimed.notice.failures ?? 0) + 1;
    const delay = rateLimitedForMs(error) ?? Math.min(RETRY_MS.most, RETRY_MS.first * 2 ** (failures - 1));
    const about = {
      channel: claimed.notice.place?.channel,
      slack: slackError(error),
      error: error instanceof Error ? error.message.slice(0, 200) : 'unknown',
    };
    if (failures >= MOST_FAILURES) {
      this.#parts.logger.error(about, 'a channel was never told of a flip of the switch');
      return this.#parts.notices.done(claimed);
    }
    this.#parts.logger.warn(
      { ...about, retryInMs: delay },
      'a channel could not be told of the switch; it is tried again',
    );
    await this.#parts.notices.postpone(claimed, delay);
  }

  /** Off by the very flip that asked for the reminder; a later one has its own. */
  async #isStillOff(notice: SwitchNotice): Promise<boolean> {
    const { off } = await this.#parts.switch.status();
    return off.some(
      ({ since, scope }) => since === notice.since && describeScope(scope) === describeScope(notice.scope),
    );
  }

  /** A channel that several tenants share is told by the shard of the first of them, once. */
  #channelsOf(scope: SwitchScope, shard: number): { team: string; channel: string }[] {
    const owners = new Map<string, { team: string; channel: string; shard: number }>();
    for (const [tenant, { slack, environments }] of this.#parts.policy.current.policy.tenants) {
      if (scope.tenant !== undefined && scope.tenant !== tenant) continue;
      if (scope.environment !== undefined && !environments.includes(scope.environment)) continue;
      const key = `${slack.team}/${slack.channel}`;
      if (!owners.has(key)) owners.set(key, { ...slack, shard: this.#parts.notices.shardOf(tenant) });
    }
    return [...owners.values()].filter((owner) => owner.shard === shard);
  }
}

export function drawNotice(notice: SwitchNotice, team: string): { text: string; blocks: KnownBlock[] } {
  const text = noticeText(notice, team);
  return { text, blocks: [ourSection(text), ...whyBlocks(whyFor(notice, team))] };
}

function noticeText(notice: SwitchNotice, team: string): string {
  const { scope, since } = notice;
  const by = [notice.by, ...(notice.confirmedBy ?? [])].map((person) => operatorText(person, team));
  const who = `${[...new Set(by)].join(' and ')} ${localTime(since)}`;
  switch (notice.kind) {
    case 'off':
      return `*Writes are off* for ${scopeText(scope)}: switched off by ${who}. What was waiting will not run; what was running may finish. Reads go on. To turn them on again: ${code(onCommand(scope))}`;
    case 'on':
      return `*Writes are on again* for ${scopeText(scope)}: turned on by ${who}. What was halted stays halted; agents have to propose it again.`;
    case 'reminder':
      return `*Writes are still off* for ${scopeText(scope)}, and the time that was set for it is over. They were switched off by ${who}, and stay off until somebody types ${code(onCommand(scope))}`;
  }
}
