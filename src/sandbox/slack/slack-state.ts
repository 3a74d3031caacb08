import { randomBytes } from 'node:crypto';
import { Conversations } from './conversations.ts';
import { FileShelf } from './file-shelf.ts';
import { LiveEvents } from './live-events.ts';
import { OAuth } from './oauth.ts';
import { RateLimits } from './rate-limits.ts';
import { ResponseUrls } from './response-url.ts';
import type { SandboxClock } from './sandbox-clock.ts';
import type { SlackWorld } from './slack-world.ts';
import { Traffic } from './traffic.ts';
import { Triggers } from './trigger.ts';
import { ViewStacks } from './view-stacks.ts';

/** All that one local Slack knows. Nothing of it is shared with another one, and nothing outlives it. */
export interface SlackState {
  readonly world: SlackWorld;
  readonly clock: SandboxClock;
  readonly live: LiveEvents;
  readonly conversations: Conversations;
  readonly files: FileShelf;
  readonly views: ViewStacks;
  readonly triggers: Triggers;
  readonly responseUrls: ResponseUrls;
  readonly oauth: OAuth;
  readonly rates: RateLimits;
  readonly traffic: Traffic;
  /** `http://127.0.0.1:PORT`, known once the server listens. */
  readonly url: () => string;
  readonly newId: () => string;
}

export function slackState(world: SlackWorld, clock: SandboxClock, url: () => string): SlackState {
  const live = new LiveEvents();
  return {
    world,
    clock,
    live,
    conversations: new Conversations(clock, live),
    files: new FileShelf(clock, newId),
    views: new ViewStacks(live, newId),
    triggers: new Triggers(clock, newId),
    responseUrls: new ResponseUrls(clock, newId, url),
    oauth: new OAuth(world, clock),
    rates: new RateLimits(clock),
    traffic: new Traffic(),
    url,
    newId,
  };
}

function newId(): string {
  return randomBytes(6).toString('hex').toUpperCase();
}
