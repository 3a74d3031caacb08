import type { App } from '@slack/bolt';
import type { Logger } from 'pino';
import type { ApproverDirectory } from '../core/approval/approver-directory.ts';
import type { ApprovalKeys } from '../core/approval/decision.ts';
import type { DecisionDesk } from '../core/approval/decision-desk.ts';
import type { AuditLog } from '../core/audit/audit-log.ts';
import { grantIsGenuine } from '../core/grant/grant.ts';
import { GrantDesk, type GrantDraft } from '../core/grant/grant-desk.ts';
import type { GrantStore } from '../core/grant/grant-store.ts';
import type { TenantId } from '../core/identity/ids.ts';
import type { PolicyHolder } from '../core/policy/policy-source.ts';
import type { CardOutbox, ProposalStore } from '../core/proposal/proposal-store.ts';
import type { ProposalKeys } from '../core/proposal/seal.ts';
import type { ToolDefinition } from '../core/tool/tool.ts';
import type { ClickedCards } from './clicked-card.ts';
import type { WorkspaceClients } from './clients.ts';
import { GrantActions } from './grant-actions.ts';
import { grantsSubcommand } from './grant-list.ts';
import { GrantPublisher } from './grant-publisher.ts';
import { drawGrantTerms, type GrantSight, scopeOfDraft } from './grant-terms.ts';
import type { InFlight } from './in-flight.ts';
import type { CardPace } from './pace.ts';
import type { Subcommand } from './subcommand.ts';

export interface GrantSurfaceParts {
  readonly grants: GrantStore;
  readonly desk: DecisionDesk;
  readonly store: ProposalStore;
  readonly outbox: CardOutbox;
  readonly audit: AuditLog;
  readonly directory: ApproverDirectory;
  readonly policy: PolicyHolder;
  readonly keys: { readonly proposal: ProposalKeys; readonly approval: ApprovalKeys };
  readonly placeOf: (tenant: TenantId) => { readonly team: string; readonly channel: string } | undefined;
  readonly workspaceOf: (team: string) => WorkspaceClients | undefined;
  readonly toolOf: (name: string) => ToolDefinition | undefined;
  readonly clickedCards: ClickedCards;
  readonly inFlight: InFlight;
  readonly logger: Logger;
  readonly pace?: CardPace | undefined;
}

/** Grants as people in Slack meet them: the button and its forms, the card, the list. */
export class GrantSurface {
  readonly subcommand: Subcommand;
  readonly #actions: GrantActions;
  readonly #publisher: GrantPublisher;

  constructor(parts: GrantSurfaceParts) {
    const { grants, policy, placeOf, toolOf, keys, store } = parts;
    const approvalKeys = keys.approval.genuine;
    const sightOf = (draft: GrantDraft): GrantSight | undefined => {
      const place = placeOf(draft.terms.context.tenant);
      return place && drawGrantTerms(scopeOfDraft(draft), draft.tool, place.team);
    };
    const desk = new GrantDesk({
      ...parts,
      key: keys.approval.signing,
      shownOf: (draft) => sightOf(draft)?.shown,
    });
    this.#actions = new GrantActions({
      ...parts,
      desk,
      approvalKeys,
      sightOf,
      operators: () => policy.current.policy.switch?.operators ?? [],
    });
    this.#publisher = new GrantPublisher({
      ...parts,
      proposalKeys: keys.proposal,
      approvalKeys,
      tenants: () => [...policy.current.policy.tenants.keys()],
      toolOf,
    });
    this.subcommand = grantsSubcommand({
      openGrants: (tenant, limit) => grants.open(tenant, limit),
      isGenuine: ({ signed }) => approvalKeys.some((key) => grantIsGenuine(key, signed)),
      now: () => store.now(),
    });
  }

  register(app: App): void {
    this.#actions.register(app);
  }

  start(): Promise<void> {
    return this.#publisher.start();
  }

  stop(): Promise<void> {
    return this.#publisher.stop();
  }
}
