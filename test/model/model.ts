import type { AuditEntry } from '../../src/core/audit/audit-entry.ts';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';

/**
 * What Countersign promises, as a machine that is small enough to be read. It is told everything that happened in a
 * shard, in the order in which it happened, and complains of the first thing that must not happen then. What it holds
 * true afterwards has to be what Redis holds.
 */

/** Of the policy that the sequences run under. */
export const BUDGET = 2;
export const PENDING_PER_AGENT = 4;
export const PENDING_PER_TENANT = 5;
/** U0ANA2 is a second account of U0ANA. */
export const humanOf = (user: string) => (user === 'U0ANA2' ? 'U0ANA' : user);

/** Something that Redis's audit does not tell, at its place between the entries of a shard. */
export type Mark = {
  readonly shard: number;
  /** The entry that it came after; '' where there was none. */
  readonly after: string;
} & (
  | { readonly is: 'late'; readonly proposal: ProposalId; readonly status: string }
  | { readonly is: 'permits lapsed' | 'a renewal begins' | 'a renewal is over' }
);

export type Status =
  | 'pending'
  | 'approved'
  | 'executing'
  | 'succeeded'
  | 'failed'
  | 'unknown'
  | 'denied'
  | 'expired'
  | 'withdrawn'
  | 'halted';

export interface ModelProposal {
  readonly id: string;
  readonly call: {
    readonly tenant: string;
    readonly environment: string;
    readonly tool: string;
    readonly agent: string;
  };
  readonly principal: string;
  readonly basis: 'people' | 'policy' | 'grant';
  readonly quorum: number;
  readonly epoch: number;
  /** They changed the arguments, and so approve nothing of it. */
  readonly editors: readonly string[];
  readonly grant: string | undefined;
  status: Status;
  /** Its time to decide, to start or to be heard of is over. */
  late: boolean;
  everLate: boolean;
  approvers: string[];
  readonly everApproved: Set<string>;
  deniedBy: string | undefined;
  admission: string | undefined;
  readonly admissions: string[];
  /** Admissions that were given back: nothing may have started under them. */
  readonly returned: string[];
  editedTo: string | undefined;
  revision: number;
  saidLate: boolean;
}

interface ModelGrant {
  readonly id: string;
  readonly maxUses: number;
  readonly epoch: number;
  readonly call: ModelProposal['call'];
  uses: number;
  ended: boolean;
}

export class ModelBroken extends Error {
  override readonly name = 'ModelBroken';
}

/** Everything that lies in one shard. */
export class Model {
  readonly proposals = new Map<string, ModelProposal>();
  readonly grants = new Map<string, ModelGrant>();
  /** By tenant: what was let through without people. The window is longer than any sequence. */
  readonly budgets = new Map<string, number>();
  /** Whoever was ever out of the lists of approvers. */
  readonly #everLeft: ReadonlySet<string>;
  #epoch = 0;
  #on = false;
  /** Cannot be known for sure after a lapse: renewing leaves no trace. */
  #mayBeArmed = false;
  #renewals = 0;
  readonly #off = new Set<string>();
  readonly #lastOff = new Map<string, number>();
  /** What one step of Redis writes in several entries: which one has to come next. */
  #owed: { readonly kind: string; readonly proposal: string | undefined } | undefined;
  readonly #seqs = new Map<string, number>();

  constructor(everLeft: ReadonlySet<string>) {
    this.#everLeft = everLeft;
  }

  /** Whether people left everything on. */
  get isOn(): boolean {
    return this.#on;
  }

  mark(mark: Mark): void {
    switch (mark.is) {
      case 'permits lapsed':
        this.#mayBeArmed = this.#renewals > 0;
        return;
      case 'a renewal begins':
        this.#renewals += 1;
        this.#mayBeArmed = true;
        return;
      case 'a renewal is over':
        this.#renewals -= 1;
        return;
      case 'late': {
        const proposal = this.proposals.get(mark.proposal);
        if (proposal?.status !== mark.status) return;
        proposal.late = true;
        proposal.everLate = true;
      }
    }
  }

  /** @throws ModelBroken */
  happened(entry: AuditEntry): void {
    const { kind, tenant, seq } = entry;
    const expected = (this.#seqs.get(tenant) ?? 0) + 1;
    this.#must(seq === expected, `entry ${seq} of ${tenant} follows ${expected - 1}`);
    this.#seqs.set(tenant, seq);
    const owed = this.#owed;
    this.#owed = undefined;
    this.#must(
      owed === undefined || (owed.kind === kind && owed.proposal === entry.proposal),
      `${owed?.kind} had to come before ${kind}`,
    );
    // Above all no alarm: whoever reads one believes that somebody wrote to Redis.
    this.#must(kind !== 'alarm.raised', `an alarm, and nobody did wrong: ${JSON.stringify(entry.detail)}`);
    this.#step(entry);
  }

  /** @throws ModelBroken where a step was left half told. */
  end(): void {
    this.#must(this.#owed === undefined, `${this.#owed?.kind} was never told`);
  }

  /** Whether nothing that the model knows of keeps an approved proposal from starting. */
  startable(proposal: ModelProposal): boolean {
    return (
      proposal.status === 'approved' &&
      !proposal.late &&
      this.#on &&
      this.#epoch >= proposal.epoch &&
      !this.#offSince(proposal.call, proposal.epoch) &&
      this.#grantStands(proposal) &&
      !proposal.approvers.some((person) => this.#everLeft.has(userOf(person)))
    );
  }

  #step(entry: AuditEntry): void {
    const { kind, detail, proposal: id } = entry;
    switch (kind) {
      case 'switch.off':
        this.#turnedOff(text(detail.scope), number(detail.epoch));
        return;
      case 'switch.on':
        this.#turnedOn(text(detail.scope), detail);
        return;
      case 'proposal.created':
        this.#created(entry);
        return;
      case 'grant.made':
        this.#grantMade(entry);
        return;
      case 'grant.used':
      case 'grant.revoked':
      case 'grant.voided':
        this.#grantChanged(entry);
        return;
      case 'decision.refused':
      case 'call.forbidden':
        return;
      default: {
        const proposal = this.proposals.get(id ?? '');
        if (proposal === undefined) throw new ModelBroken(`${kind} of ${id}, which was never created`);
        this.#moved(proposal, entry);
      }
    }
  }

  // The switch ----------------------------------------------------------------------------------------------------

  #turnedOff(scope: string, asked: number): void {
    this.#epoch = Math.max(this.#epoch + 1, asked);
    this.#off.add(scope);
    this.#lastOff.set(scope, this.#epoch);
    if (scope !== '*') return;
    this.#on = false;
    this.#mayBeArmed = false;
  }

  #turnedOn(scope: string, detail: AuditEntry['detail']): void {
    const expected = number(detail.expectedEpoch);
    this.#must(this.#epoch <= expected, `turned on for epoch ${expected}, and it is ${this.#epoch}`);
    this.#epoch = number(detail.epoch);
    this.#off.delete(scope);
    if (scope !== '*') return;
    this.#on = true;
    this.#mayBeArmed = true;
  }

  #writesAreOn(call: ModelProposal['call']): boolean {
    return this.#on && this.#mayBeArmed && ![...this.#off].some((scope) => covers(scope, call));
  }

  #offSince(call: ModelProposal['call'], epoch: number): boolean {
    if ([...this.#off].some((scope) => covers(scope, call))) return true;
    return [...this.#lastOff].some(([scope, last]) => last > epoch && covers(scope, call));
  }

  // Proposals -----------------------------------------------------------------------------------------------------

  #created({ tenant, proposal: id = '', detail }: AuditEntry): void {
    this.#must(!this.proposals.has(id), `${id} is created twice`);
    const basis = detail.basis as ModelProposal['basis'];
    const edits = detail.edits as { editors: string[]; from: string } | undefined;
    const proposal: ModelProposal = {
      id,
      call: {
        tenant,
        environment: text(detail.environment),
        tool: text(detail.tool),
        agent: text(detail.agent),
      },
      principal: text(detail.principal),
      basis,
      quorum: basis === 'people' ? number(detail.quorum) : 0,
      epoch: number(detail.switchEpoch),
      editors: edits?.editors ?? [],
      grant: typeof detail.grant === 'string' ? detail.grant : undefined,
      status: 'pending',
      late: false,
      everLate: false,
      approvers: [],
      everApproved: new Set(),
      deniedBy: undefined,
      admission: undefined,
      admissions: [],
      returned: [],
      editedTo: undefined,
      revision: 1,
      saidLate: false,
    };
    this.#must(this.#writesAreOn(proposal.call), `${id} is created while writes are off for it`);
    this.#must(proposal.epoch === this.#epoch, `${id} is created for epoch ${proposal.epoch}`);
    if (basis === 'policy') {
      const used = (this.budgets.get(tenant) ?? 0) + 1;
      this.#must(used <= BUDGET, `${id} is number ${used} on a budget of ${BUDGET}`);
      this.budgets.set(tenant, used);
    }
    this.proposals.set(id, proposal);
    if (basis !== 'people') this.#owe('proposal.approved', id);
    else if (edits === undefined) this.#withinLimits(proposal);
    else this.#owe('proposal.halted', edits.from);
  }

  #withinLimits({ call, id }: ModelProposal): void {
    if (call.tenant !== 'acme') return;
    const waiting = [...this.proposals.values()].filter(
      (other) => other.status === 'pending' && other.call.tenant === call.tenant,
    );
    const ofAgent = waiting.filter((other) => other.call.agent === call.agent);
    this.#must(ofAgent.length <= PENDING_PER_AGENT, `${id} is one too many of its agent that waits`);
    this.#must(waiting.length <= PENDING_PER_TENANT, `${id} is one too many of its tenant that waits`);
  }

  #moved(proposal: ModelProposal, entry: AuditEntry): void {
    const { kind } = entry;
    const lead = LEADS[kind];
    if (lead === undefined) throw new ModelBroken(`${kind} is nothing that the model knows`);
    this.#must(lead.from.includes(proposal.status), `${kind} of ${proposal.id}, which is ${proposal.status}`);
    if (kind.startsWith('admission.') || kind.startsWith('outcome.')) this.#mayRun(proposal, entry);
    else this.#mayBeDecided(proposal, entry);
    if (lead.to === undefined) return;
    proposal.status = lead.to;
    proposal.late = false;
    proposal.revision += 1;
  }

  #mayBeDecided(proposal: ModelProposal, { kind, detail }: AuditEntry): void {
    const { id } = proposal;
    switch (kind) {
      case 'decision.approve':
        this.#mayApprove(proposal, text(detail.person));
        return;
      case 'proposal.approved':
        this.#hasEnough(proposal, text(detail.by));
        return;
      case 'decision.deny':
        this.#must(!proposal.late, `${id} is denied after its deadline`);
        proposal.deniedBy = text(detail.person);
        this.#owe('proposal.denied', id);
        return;
      case 'proposal.denied':
        this.#must(detail.by === proposal.deniedBy, `${id} is denied by nobody`);
        proposal.approvers = proposal.approvers.filter((person) => person !== proposal.deniedBy);
        return;
      case 'decision.revoked': {
        const person = text(detail.person);
        this.#must(proposal.approvers.includes(person), `${person} had not approved ${id}`);
        this.#must(this.#everLeft.has(userOf(person)), `${person} never left`);
        proposal.approvers = proposal.approvers.filter((other) => other !== person);
        proposal.revision += 1;
        return;
      }
      case 'proposal.expired':
        this.#must(proposal.late, `${id} expires before its time`);
        this.#must(
          detail.stage === (proposal.status === 'pending' ? 'deciding' : 'starting'),
          `${id} is ${proposal.status}, and expires while ${detail.stage}`,
        );
        return;
      case 'proposal.edited':
        this.#must(!proposal.late, `${id} is changed after its deadline`);
        this.#must(!this.#offSince(proposal.call, proposal.epoch), `${id} is changed while it is off`);
        proposal.editedTo = text(detail.to);
        this.#owe('proposal.created', proposal.editedTo);
        return;
      case 'proposal.halted':
        this.#mayHalt(proposal, detail);
        return;
    }
  }

  #mayRun(proposal: ModelProposal, { kind, detail }: AuditEntry): void {
    const { id, call, epoch } = proposal;
    const holdsIt = detail.admission === proposal.admission;
    switch (kind) {
      case 'admission.granted':
        this.#mayStart(proposal, text(detail.admission));
        return;
      case 'admission.returned':
        this.#must(holdsIt, `${id} is given back by whoever does not hold it`);
        proposal.returned.push(text(detail.admission));
        if (!this.#offSince(call, epoch)) return;
        // Halted in the same step.
        proposal.revision -= 1;
        this.#owe('proposal.halted', id);
        return;
      case 'outcome.late':
        this.#must(!proposal.saidLate, `${id} has a second late outcome`);
        proposal.saidLate = true;
        return;
      default:
        this.#must(
          holdsIt || (kind === 'outcome.unknown' && proposal.late),
          `${id} has an outcome from whoever does not run it, before its lease is over`,
        );
    }
  }

  #mayApprove(proposal: ModelProposal, person: string): void {
    const { id, approvers, principal, editors, quorum } = proposal;
    const human = humanOf(userOf(person));
    const among = (people: readonly string[]) => people.some((other) => humanOf(userOf(other)) === human);
    this.#must(!proposal.late, `${person} approves ${id} after its deadline`);
    this.#must(!this.#offSince(proposal.call, proposal.epoch), `${person} approves ${id}, which is off`);
    this.#must(!among([principal]), `${person} approves a call of their own, ${id}`);
    this.#must(!among(editors), `${person} approves what they changed themselves, ${id}`);
    this.#must(!among(approvers), `${person} approves ${id} twice`);
    this.#must(approvers.length < quorum, `${id} is approved by more than it needs`);
    proposal.approvers = [...approvers, person];
    proposal.everApproved.add(person);
    if (proposal.approvers.length < quorum) proposal.revision += 1;
    else this.#owe('proposal.approved', id);
  }

  #hasEnough(proposal: ModelProposal, by: string): void {
    const { id, basis, approvers, quorum, grant: used } = proposal;
    // Created and approved in one step.
    if (basis !== 'people') proposal.revision -= 1;
    this.#must(by === basis, `${id} is approved by ${by}, and ${basis} decides it`);
    if (basis === 'people') {
      this.#must(approvers.length >= quorum, `${id} is approved by ${approvers.length} of ${quorum}`);
    }
    if (basis === 'grant') {
      this.#must(used !== undefined, `${id} names no grant`);
      this.#owe('grant.used', id);
    }
  }

  #mayHalt(proposal: ModelProposal, detail: AuditEntry['detail']): void {
    const { id, call, epoch, editedTo } = proposal;
    const cause = detail.cause as { kind: string; to?: string; scope?: string } | undefined;
    if (cause?.kind === 'switch') {
      this.#must(this.#offSince(call, epoch), `${id} is halted by a switch that is on for it`);
      this.#must(
        covers(cause.scope ?? '', call),
        `${id} is halted by ${cause.scope}, which is not its scope`,
      );
      return;
    }
    if (cause?.kind === 'edited') {
      this.#must(editedTo !== undefined && cause.to === editedTo, `${id} is halted by no edit`);
      return;
    }
    const refusal = text(detail.refusal);
    const may =
      refusal === 'approver_not_entitled'
        ? this.#everLeft.has(userOf(text(detail.person)))
        : ['grant_void', 'grant_ended'].includes(refusal) && !this.#grantStands(proposal);
    this.#must(may, `${id} is halted (${refusal}) without a reason that the model knows`);
  }

  #mayStart(proposal: ModelProposal, admission: string): void {
    const { id, call, epoch } = proposal;
    this.#must(!proposal.late, `${id} is admitted after its time to start`);
    this.#must(!this.#offSince(call, epoch), `${id} is admitted although it was turned off`);
    this.#must(this.#on && this.#mayBeArmed, `${id} is admitted without a permit`);
    this.#must(this.#epoch >= epoch, `${id} is admitted under an epoch before its own`);
    this.#must(!proposal.admissions.includes(admission), `${id} is admitted again by the same admission`);
    this.#must(this.#grantStands(proposal), `${id} is admitted under a grant that has ended`);
    proposal.admission = admission;
    proposal.admissions.push(admission);
  }

  // Grants --------------------------------------------------------------------------------------------------------

  #grantMade({ proposal: id = '', detail }: AuditEntry): void {
    const grant = text(detail.grant);
    const proposal = this.proposals.get(id);
    this.#must(!this.grants.has(grant), `${grant} is made twice`);
    this.#must(
      proposal?.approvers.includes(text(detail.person)) ?? false,
      `${grant} is given by somebody who did not approve ${id}`,
    );
    this.#must(
      !['pending', 'denied', 'expired', 'withdrawn', 'halted'].includes(proposal?.status ?? 'pending'),
      `${grant} is given with ${id}, which is ${proposal?.status}`,
    );
    if (proposal === undefined) return;
    this.#must(
      !this.#offSince(proposal.call, number(detail.switchEpoch)),
      `${grant} is given while it is off`,
    );
    this.grants.set(grant, {
      id: grant,
      maxUses: number(detail.maxUses),
      epoch: number(detail.switchEpoch),
      call: proposal.call,
      uses: 0,
      ended: false,
    });
  }

  #grantChanged({ kind, detail, proposal: id = '' }: AuditEntry): void {
    const grant = this.grants.get(text(detail.grant));
    if (grant === undefined) throw new ModelBroken(`${kind} of ${text(detail.grant)}, which was never made`);
    this.#must(!grant.ended, `${kind} of ${grant.id}, which has ended`);
    if (kind !== 'grant.used') {
      this.#must(
        kind === 'grant.revoked' || this.#offSince(grant.call, grant.epoch),
        `${grant.id} is voided while it is on`,
      );
      grant.ended = true;
      return;
    }
    const proposal = this.proposals.get(id);
    grant.uses += 1;
    this.#must(proposal?.grant === grant.id, `${id} uses ${grant.id}, and names another`);
    this.#must(grant.uses <= grant.maxUses, `${id} is use ${grant.uses} of a grant for ${grant.maxUses}`);
    this.#must(!this.#offSince(grant.call, grant.epoch), `${id} uses ${grant.id}, which was turned off`);
  }

  #grantStands({ grant: used }: ModelProposal): boolean {
    if (used === undefined) return true;
    const grant = this.grants.get(used);
    return grant !== undefined && !grant.ended && !this.#offSince(grant.call, grant.epoch);
  }

  #owe(kind: AuditEntry['kind'], proposal: string): void {
    this.#owed = { kind, proposal };
  }

  #must(holds: boolean, complaint: string): void {
    if (!holds) throw new ModelBroken(complaint);
  }
}

type Leads = { readonly from: readonly Status[]; readonly to?: Status };

/** DESIGN 2: what may come of a proposal in which state, and where it leads. */
const LEADS: Partial<Record<AuditEntry['kind'], Leads>> = {
  'decision.approve': { from: ['pending'] },
  'decision.deny': { from: ['pending'] },
  'decision.revoked': { from: ['pending'] },
  'proposal.approved': { from: ['pending'], to: 'approved' },
  'proposal.denied': { from: ['pending'], to: 'denied' },
  'proposal.withdrawn': { from: ['pending'], to: 'withdrawn' },
  'proposal.edited': { from: ['pending'] },
  'proposal.expired': { from: ['pending', 'approved'], to: 'expired' },
  'proposal.halted': { from: ['pending', 'approved'], to: 'halted' },
  'admission.granted': { from: ['approved'], to: 'executing' },
  'admission.returned': { from: ['executing'], to: 'approved' },
  'outcome.succeeded': { from: ['executing'], to: 'succeeded' },
  'outcome.failed': { from: ['executing'], to: 'failed' },
  'outcome.unknown': { from: ['executing'], to: 'unknown' },
  'outcome.late': { from: ['unknown'] },
};

export function covers(scope: string, call: ModelProposal['call']): boolean {
  if (scope === '*') return true;
  return scope.split('&').every((part) => {
    const [name = '', value] = part.split('=');
    return call[name as keyof ModelProposal['call']] === value;
  });
}

export function userOf(person: string): string {
  return person.split('/')[1] ?? '';
}

function text(value: unknown): string {
  if (typeof value !== 'string') throw new ModelBroken(`an entry lacks a text: ${JSON.stringify(value)}`);
  return value;
}

function number(value: unknown): number {
  if (typeof value !== 'number') throw new ModelBroken(`an entry lacks a number: ${JSON.stringify(value)}`);
  return value;
}
