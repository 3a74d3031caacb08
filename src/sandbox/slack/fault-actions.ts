import type { Faults } from './faults.ts';
import type { ActionAnswer, ActionError, ActionFailed, FaultWish, SeenFault } from './person-interface.ts';
import type { SlackState } from './slack-state.ts';
import { findChannel, findWorkspace } from './slack-world.ts';

/** What befalls an app, on demand of whoever sits before the page: faults of the network, and what people do to its channel. */
export class FaultActions {
  readonly #state: SlackState;
  readonly #faults: Faults;

  constructor(state: SlackState, faults: Faults) {
    this.#state = state;
    this.#faults = faults;
  }

  active(): SeenFault[] {
    return this.#faults.active();
  }

  async bring(wish: FaultWish): Promise<ActionAnswer> {
    switch (wish.kind) {
      case 'deliver_twice':
        this.#faults.deliverTwice();
        return { ok: true };
      case 'lose_reply':
        this.#faults.loseReply(wish.method);
        return { ok: true };
      case 'rate_limit':
        this.#faults.rateLimit(wish.ms);
        return { ok: true };
      case 'down':
        this.#faults.downFor(wish.ms);
        return { ok: true };
      case 'clear':
        this.#faults.clear();
        return { ok: true };
      case 'delete_message':
        return this.#deleteMessage(wish);
      case 'channel':
        return this.#changeChannel(wish);
    }
  }

  /** An admin may delete what an app wrote; the app is not told. */
  #deleteMessage(wish: Extract<FaultWish, { kind: 'delete_message' }>): ActionAnswer {
    const message = this.#state.conversations.find(wish.team, wish.channel, wish.message);
    if (message === undefined) return failed('message_not_found', 'This message does not exist any more.');
    this.#state.conversations.remove(message);
    return { ok: true };
  }

  #changeChannel({ team, channel: id, ...wish }: Extract<FaultWish, { kind: 'channel' }>): ActionAnswer {
    const workspace = findWorkspace(this.#state.world, team);
    const channel = workspace && findChannel(workspace, id);
    if (!workspace || !channel) return failed('channel_not_found', 'This channel does not exist.');
    if (wish.archived !== undefined) channel.isArchived = wish.archived;
    if (wish.shared !== undefined) channel.isExtShared = wish.shared;
    const bot = workspace.installation?.botUser;
    if (wish.botIn !== undefined && bot !== undefined) {
      const others = channel.members.filter((member) => member !== bot);
      channel.members = wish.botIn ? [...others, bot] : others;
    }
    this.#state.live.publish({ kind: 'channel', team, channel: id });
    return { ok: true };
  }
}

function failed(error: ActionError, text: string): ActionFailed {
  return { ok: false, error, text };
}
