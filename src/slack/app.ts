import type { Logger } from 'pino';
import type { ApprovalPrivateKey } from '../core/approval/decision.ts';
import type { AuditLog } from '../core/audit/audit-log.ts';
import type { Dispatch } from '../core/execution/dispatch.ts';
import type { PolicyHolder } from '../core/policy/policy-source.ts';
import type { CardOutbox, ProposalStore } from '../core/proposal/proposal-store.ts';
import type { ProposalKey } from '../core/proposal/seal.ts';
import type { WriteSwitch } from '../core/switch/write-switch.ts';

/** How Slack reaches this process: over a socket that it opens itself, or over HTTP with a signing secret. */
export type SlackTransport =
  | { readonly mode: 'socket'; readonly appToken: string }
  | {
      readonly mode: 'http';
      readonly signingSecret: string;
      readonly host: string;
      /** 0 takes a free one; `SlackSurface.port` says which. */
      readonly port: number;
      /** Default `/slack/events`. */
      readonly path?: string;
    };

export interface SlackConfig {
  readonly transport: SlackTransport;
  /** One bot token a workspace. */
  readonly botTokens: readonly string[];
  /** `A…`: what every payload must say it is for. Without it, what the payloads' tokens say is not compared. */
  readonly appId?: string | undefined;
  /** Another server than Slack's, ending in `/api/`. */
  readonly apiUrl?: string | undefined;
}

/** What the card needs of a tool's definition: which of its arguments are never shown. */
export interface ShownTools {
  get(name: string): { readonly redact?: readonly string[] | undefined } | undefined;
}

export interface SlackSurfaceParts {
  readonly config: SlackConfig;
  readonly store: ProposalStore;
  readonly outbox: CardOutbox;
  readonly switch: WriteSwitch;
  readonly audit: AuditLog;
  readonly dispatch: Dispatch;
  readonly policy: PolicyHolder;
  readonly registry: ShownTools;
  readonly keys: { readonly proposal: ProposalKey; readonly approval: ApprovalPrivateKey };
  readonly logger: Logger;
  /** Wall clock, ms: for the age of signed requests and of cached memberships; deadlines come from the store's. */
  readonly clock: () => number;
}

/** Something an operator has to put right before a tenant's cards can be posted or decided. */
export interface SlackProblem {
  readonly tenant: string;
  readonly code:
    | 'workspace_not_installed'
    | 'channel_not_found'
    | 'bot_not_in_channel'
    | 'channel_archived'
    | 'channel_shared'
    | 'cannot_check';
  /** What is wrong and what to do about it. */
  readonly message: string;
}

export interface SlackSurface {
  /** In HTTP mode the port that is listened on. */
  readonly port: number | undefined;
  /** As of the last look at each tenant's channel. */
  problems(): readonly SlackProblem[];
  /** Takes no new clicks, finishes those in hand, and resolves. */
  stop(): Promise<void>;
}

/** @throws SlackTokenRejected naming each token that Slack does not know, and what to do. */
export declare function startSlackSurface(parts: SlackSurfaceParts): Promise<SlackSurface>;
