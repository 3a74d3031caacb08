import { z } from 'zod';
import { rateLimitedForMs, slackError, type WorkspaceClients } from './clients.ts';

/** Something an operator has to put right before a tenant's cards can be posted or decided. */
export interface SlackProblem {
  readonly tenant: string;
  readonly code:
    | 'workspace_not_installed'
    | 'workspace_lost'
    | 'workspace_expiring'
    | 'workspace_unreadable'
    | 'token_refused'
    | 'channel_not_found'
    | 'bot_not_in_channel'
    | 'channel_archived'
    | 'channel_shared'
    | 'emails_hidden'
    | 'cannot_check';
  /** What is wrong and what to do about it. */
  readonly message: string;
}

export type ChannelLook =
  | { readonly ok: true }
  | { readonly ok: false; readonly code: SlackProblem['code']; readonly message: string };

const Info = z.looseObject({
  channel: z.looseObject({
    is_member: z.boolean().optional(),
    is_archived: z.boolean().optional(),
    is_ext_shared: z.boolean().optional(),
    is_pending_ext_shared: z.boolean().optional(),
    pending_shared: z.array(z.string()).optional(),
  }),
});

/** How long a good look counts where Slack says that we ask too often: Tier 3 allows 50 looks a minute. */
const GOOD_FOR_MS = 30_000;

/** Whether a channel may be posted to and decided in, looked at anew each time. Closed where Slack does not tell. */
export class Channels {
  readonly #monotonic: () => number;
  readonly #good = new Map<string, number>();

  /** @param monotonic ms: no step of the wall clock lets a look count for longer. */
  constructor(monotonic: () => number) {
    this.#monotonic = monotonic;
  }

  /** @param goodForMs a good look that is no older than this is not repeated. */
  async look(workspace: WorkspaceClients, channel: string, goodForMs = 0): Promise<ChannelLook> {
    const key = `${workspace.team}/${channel}`;
    if (this.#goodSince(key) < goodForMs) return { ok: true };
    let look: ChannelLook;
    try {
      const { channel: info } = Info.parse(await workspace.asking.conversations.info({ channel }));
      look = judged(info, `the channel ${channel} of ${workspace.name || workspace.team}`);
    } catch (error) {
      if (rateLimitedForMs(error) !== undefined && this.#goodSince(key) < GOOD_FOR_MS) return { ok: true };
      look = unreadable(error, channel, workspace);
    }
    if (look.ok) this.#good.set(key, this.#monotonic());
    else this.#good.delete(key);
    return look;
  }

  /** Milliseconds since the last good look; without end where there was none. */
  #goodSince(key: string): number {
    return this.#monotonic() - (this.#good.get(key) ?? Number.NEGATIVE_INFINITY);
  }
}

function judged(info: z.infer<typeof Info>['channel'], name: string): ChannelLook {
  if (info.is_ext_shared || info.is_pending_ext_shared || (info.pending_shared?.length ?? 0) > 0) {
    return problem(
      'channel_shared',
      `${name} is shared with another company, or an invitation to share it is open; nothing is decided there. End the sharing, or name another channel in the policy`,
    );
  }
  if (info.is_archived) {
    return problem(
      'channel_archived',
      `${name} is archived; unarchive it, or name another channel in the policy`,
    );
  }
  if (info.is_member !== true) {
    return problem(
      'bot_not_in_channel',
      `the bot is not in ${name}; invite it there with /invite @Countersign`,
    );
  }
  return { ok: true };
}

function unreadable(error: unknown, channel: string, workspace: WorkspaceClients): ChannelLook {
  const said = slackError(error);
  const where = `${channel} of ${workspace.name || workspace.team}`;
  if (said === 'channel_not_found') {
    return problem(
      'channel_not_found',
      `Slack knows no channel ${where}, or it is private and the bot is not in it. Check the id in the policy, and invite the bot there with /invite @Countersign`,
    );
  }
  const why = said ?? (rateLimitedForMs(error) === undefined ? 'no answer' : 'too many questions');
  return problem('cannot_check', `Slack did not tell about the channel ${where} (${why}); it is asked again`);
}

function problem(code: SlackProblem['code'], message: string): ChannelLook {
  return { ok: false, code, message };
}
