import type { Tier } from './rate-limits.ts';
import type { SlackState } from './slack-state.ts';
import type { Channel, Installation, Workspace } from './slack-world.ts';
import { findChannel } from './slack-world.ts';

export type ApiAnswer = { ok: true; [field: string]: unknown } | ApiFailure;
export type ApiFailure = { ok: false; error: string; [field: string]: unknown };

export interface ApiCall {
  state: SlackState;
  workspace: Workspace;
  installation: Installation;
  args: ApiArguments;
}

export interface ApiMethod {
  tier: Tier;
  /** Any one of them is enough; empty where a token alone is. */
  scopes: string[];
  run(call: ApiCall): ApiAnswer;
}

export function failure(error: string, messages: string[] = []): ApiFailure {
  if (messages.length === 0) return { ok: false, error };
  return {
    ok: false,
    error,
    errors: messages,
    response_metadata: { messages: messages.map((message) => `[ERROR] ${message}`) },
  };
}

export function missingScope(needed: string[], provided: string[]): ApiFailure {
  return { ok: false, error: 'missing_scope', needed: needed.join(','), provided: provided.join(',') };
}

export function missingArgument(name: string): ApiFailure {
  return failure('invalid_arguments', [`missing required field: ${name}`]);
}

/** A call's arguments, from a form (where objects come as JSON text) or from a JSON body. */
export class ApiArguments {
  readonly all: Readonly<Record<string, unknown>>;

  constructor(all: Record<string, unknown>) {
    this.all = all;
  }

  text(name: string): string | undefined {
    const value = this.all[name];
    if (typeof value === 'string') return value === '' ? undefined : value;
    return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined;
  }

  flag(name: string): boolean {
    return ['true', '1'].includes(this.text(name) ?? '');
  }

  count(name: string, otherwise: number, most: number): number {
    const value = Number(this.text(name) ?? otherwise);
    return Number.isInteger(value) && value > 0 ? Math.min(value, most) : otherwise;
  }

  /** `undefined` where the argument is not there; `{ broken: true }` where it is no JSON. */
  json(name: string): { value: unknown } | { broken: true } | undefined {
    const value = this.all[name];
    if (value === undefined || value === null || value === '') return undefined;
    if (typeof value !== 'string') return { value };
    try {
      return { value: JSON.parse(value) as unknown };
    } catch {
      return { broken: true };
    }
  }
}

/** The channel, as far as the bot can know of it: a private one that it is not in does not exist for it. */
export function knownChannel(
  call: ApiCall,
  id: string | undefined,
): { ok: true; channel: Channel } | ApiFailure {
  const channel = id === undefined ? undefined : findChannel(call.workspace, id);
  if (!channel) return failure('channel_not_found');
  if (channel.isPrivate && !channel.members.includes(call.installation.botUser))
    return failure('channel_not_found');
  return { ok: true, channel };
}

/** Channel methods ask for another scope where the channel is private. */
export function channelScope(
  call: ApiCall,
  channel: Channel,
  what: 'read' | 'history',
): ApiFailure | undefined {
  const needed = channel.isPrivate ? `groups:${what}` : `channels:${what}`;
  const { scopes } = call.installation;
  return scopes.includes(needed) ? undefined : missingScope([needed], scopes);
}
