import { z } from 'zod';
import type { AuditEntry } from '../core/audit/audit-entry.ts';
import { DenialReason } from '../core/policy/verdict.ts';
import { chainDirectories, entriesOfChain, type FoundEntry, type Unread } from './read-entries.ts';

export interface RecordedApproval {
  readonly person: string;
  /** By which entry of the rule they were entitled. */
  readonly as: string;
  readonly reason: string | undefined;
  readonly at: number;
  /** SHA-256 of the card or the review that they had before them. */
  readonly shown: string;
}

/** One proposal, as its entries tell of it: a member of the population that an auditor draws samples from. */
export interface ExportedProposal {
  readonly proposal: string;
  readonly tenant: string;
  readonly environment: string;
  readonly tool: string;
  readonly argumentsSha256: string;
  /** On whose behalf. */
  readonly requester: string;
  readonly agent: string;
  readonly run: string;
  readonly requestedAt: number;
  readonly policyVersion: string;
  /** `people`, `policy`, or `grant` and which. */
  readonly basis: string;
  /** The place in the policy that asked for it. */
  readonly rule: string;
  readonly quorum: number | undefined;
  readonly approvals: readonly RecordedApproval[];
  readonly denial: RecordedApproval | undefined;
  readonly approvedAt: number | undefined;
  readonly startedAt: number | undefined;
  readonly approvedBeforeStart: 'yes' | 'no' | 'not executed';
  readonly outcome: string | undefined;
  readonly outcomeAt: number | undefined;
  readonly finalState: string;
  readonly haltedCause: string | undefined;
  /** Of the tenant's chain. */
  readonly lines: readonly number[];
}

export interface Population {
  readonly proposals: readonly ExportedProposal[];
  /** Told of in entries, and their own beginning is not in the audit: nobody knows when they were asked for. */
  readonly withoutRequest: number;
  readonly unread: readonly Unread[];
}

/** Every proposal that was asked for at `from` or later and before `to`, in that order. */
export function populationOf(
  directory: string,
  period: { readonly from: number; readonly to: number; readonly tenant?: string | undefined },
): Population {
  const proposals: ExportedProposal[] = [];
  const unread: Unread[] = [];
  let withoutRequest = 0;
  for (const path of chainDirectories(directory, period.tenant)) {
    const wanted = new Map<string, ProposalStory>();
    const requested = new Set<string>();
    const others = new Set<string>();
    for (const found of entriesOfChain(path, (line) => unread.push(line))) {
      const { proposal: id, kind, at, tenant } = found.entry;
      if (id === undefined || (period.tenant !== undefined && tenant !== period.tenant)) continue;
      const within = at >= period.from && at < period.to;
      if (kind === 'proposal.created') {
        requested.add(id);
        if (within && !wanted.has(id)) wanted.set(id, new ProposalStory(found));
      }
      wanted.get(id)?.tell(found);
      // A refused click may name any proposal at all; a state tells of one that there was.
      if (within && STATES[kind] !== undefined && !requested.has(id)) others.add(id);
    }
    proposals.push(...[...wanted.values()].map((story) => story.exported()));
    withoutRequest += others.size;
  }
  proposals.sort((a, b) => a.requestedAt - b.requestedAt);
  return { proposals, withoutRequest, unread };
}

/** What the entries of a kind make of the proposal. */
const STATES: Readonly<Partial<Record<AuditEntry['kind'], string>>> = {
  'proposal.created': 'pending',
  'proposal.approved': 'approved',
  'proposal.denied': 'denied',
  'proposal.expired': 'expired',
  'proposal.withdrawn': 'withdrawn',
  'proposal.halted': 'halted',
  'admission.granted': 'executing',
  'admission.returned': 'approved',
  'outcome.succeeded': 'succeeded',
  'outcome.failed': 'failed',
  'outcome.unknown': 'unknown',
};

const text = z.string().catch('');
const CreatedDetail = z.object({
  tool: text,
  argumentsDigest: text,
  environment: text,
  agent: text,
  principal: text,
  run: text,
  policyVersion: text,
  basis: text,
  by: text,
  quorum: z.number().optional().catch(undefined),
  grant: z.string().optional().catch(undefined),
});
const DecisionDetail = z.object({
  person: text,
  as: text,
  reason: z.string().optional().catch(undefined),
  choice: DenialReason.optional().catch(undefined),
  shown: text,
  decidedAt: z.number().optional().catch(undefined),
});
const RevokedDetail = z.object({ person: text });
const OutcomeDetail = z.object({ outcome: text });
/** As a script writes it, or as the service that refused does. */
const HaltedDetail = z.object({
  cause: z.record(z.string(), z.unknown()).optional().catch(undefined),
  refusal: z.string().optional().catch(undefined),
  message: z.string().optional().catch(undefined),
  person: z.string().optional().catch(undefined),
});

/** What is told of one proposal, entry by entry. */
class ProposalStory {
  readonly #created: FoundEntry;
  readonly #detail: z.infer<typeof CreatedDetail>;
  readonly #approvals = new Map<string, RecordedApproval>();
  readonly #lines: number[] = [];
  #denial: RecordedApproval | undefined;
  #approvedAt: number | undefined;
  #startedAt: number | undefined;
  #approvedBeforeStart: ExportedProposal['approvedBeforeStart'] = 'not executed';
  #outcome: string | undefined;
  #outcomeAt: number | undefined;
  #state = 'pending';
  #haltedCause: string | undefined;

  constructor(created: FoundEntry) {
    this.#created = created;
    this.#detail = CreatedDetail.parse(created.entry.detail);
  }

  tell({ n, entry }: FoundEntry): void {
    const { kind, at, detail } = entry;
    this.#lines.push(n);
    this.#state = STATES[kind] ?? this.#state;
    if (kind === 'decision.approve') {
      const approval = decisionOf(entry);
      this.#approvals.set(approval.person, approval);
    } else if (kind === 'decision.deny') {
      this.#denial = decisionOf(entry);
      this.#approvals.delete(this.#denial.person);
    } else if (kind === 'decision.revoked') {
      this.#approvals.delete(RevokedDetail.parse(detail).person);
    } else if (kind === 'proposal.approved') {
      this.#approvedAt ??= at;
    } else if (kind === 'admission.granted') {
      this.#startedAt = at;
      this.#approvedBeforeStart = this.#isApproved() ? 'yes' : 'no';
    } else if (kind === 'admission.returned') {
      this.#startedAt = undefined;
      this.#approvedBeforeStart = 'not executed';
    } else if (kind === 'proposal.halted') {
      this.#haltedCause = causeOf(HaltedDetail.parse(detail));
    } else if (kind.startsWith('outcome.')) {
      this.#tellOutcome(kind, at, OutcomeDetail.parse(detail).outcome);
    }
  }

  /** By what the entries before this one say, not by the word of the entry that settled it alone. */
  #isApproved(): boolean {
    if (this.#approvedAt === undefined) return false;
    return this.#detail.basis !== 'people' || this.#approvals.size >= (this.#detail.quorum ?? 1);
  }

  #tellOutcome(kind: string, at: number, outcome: string): void {
    if (kind === 'outcome.late') {
      this.#outcome = `${this.#outcome ?? 'unknown'} (came later: ${outcome})`;
      return;
    }
    this.#outcome = kind.slice('outcome.'.length);
    this.#outcomeAt = at;
  }

  exported(): ExportedProposal {
    const { entry } = this.#created;
    const { tool, environment, agent, run, policyVersion, quorum, basis, grant } = this.#detail;
    return {
      proposal: entry.proposal ?? '',
      tenant: entry.tenant,
      environment,
      tool,
      argumentsSha256: this.#detail.argumentsDigest,
      requester: this.#detail.principal,
      agent,
      run,
      requestedAt: entry.at,
      policyVersion,
      basis: grant === undefined ? basis : `${basis} ${grant}`,
      rule: this.#detail.by,
      quorum,
      approvals: [...this.#approvals.values()],
      denial: this.#denial,
      approvedAt: this.#approvedAt,
      startedAt: this.#startedAt,
      approvedBeforeStart: this.#approvedBeforeStart,
      outcome: this.#outcome,
      outcomeAt: this.#outcomeAt,
      finalState: this.#state,
      haltedCause: this.#haltedCause,
      lines: this.#lines,
    };
  }
}

function decisionOf({ at, detail }: AuditEntry): RecordedApproval {
  const { person, as, reason, choice, shown, decidedAt } = DecisionDetail.parse(detail);
  const said = [choice?.text, reason].filter((part) => part !== undefined);
  return { person, as, reason: said.length === 0 ? undefined : said.join(': '), at: decidedAt ?? at, shown };
}

function causeOf({ cause, refusal, message, person }: z.infer<typeof HaltedDetail>): string {
  const { kind, ...rest } = cause ?? { kind: 'refused', refusal, message, person };
  const facts = Object.entries(rest).filter(([, value]) => typeof value === 'string' && value !== '');
  return [String(kind), ...facts.map(([name, value]) => `${name} ${value}`)].join(', ');
}
