import fc from 'fast-check';
import { DecisionUnsure } from '../../src/core/approval/decision-desk.ts';
import { AgentId, type PersonId, PrincipalId, personOf } from '../../src/core/identity/ids.ts';
import type { ProposalRecord } from '../../src/core/proposal/proposal.ts';
import { StoreUnavailable } from '../../src/core/proposal/proposal-store.ts';
import { unseal } from '../../src/core/proposal/seal.ts';
import { CallError } from '../../src/guard/call-errors.ts';
import { DispatchUnavailable } from '../../src/queue/dispatch-bullmq.ts';
import { ExcludedVote } from '../../src/redis/proposal-store-redis.ts';
import { signedDecision, testKeys } from '../sealed-terms.ts';
import type { Blow } from './traffic.ts';
import {
  CALLERS,
  ENDINGS,
  PARTS,
  type Part,
  SCOPES,
  TOOL_NAMES,
  type ToolName,
  USERS,
  type User,
  type World,
} from './world.ts';

/** One thing that somebody does, or that befalls a process. What it is done to is counted back from the newest. */
export type Step =
  | {
      do: 'propose';
      part: number;
      caller: number /** By name, or one of the sequence's. */;
      tool: number | ToolName;
      ticket: number;
      ending: number;
      key: number;
    }
  | { do: 'click'; part: number; on: number; user: User; decision: 'approve' | 'deny' }
  /** A decision that was signed before, or by a desk that was slow, reaches the store. */
  | { do: 'deliver again'; part: number; nth: number }
  | { do: 'vote'; part: number; on: number; user: User; decision: 'approve' | 'deny' }
  | { do: 'withdraw'; part: number; on: number }
  | { do: 'edit'; part: number; on: number; user: User; ticket: number }
  | { do: 'give grant'; part: number; on: number; user: User; free: boolean }
  | { do: 'revoke grant'; part: number; nth: number }
  | { do: 'attempt'; part: number; on: number }
  | { do: 'deliver a job'; part: number; nth: number }
  | { do: 'end the call'; nth: number; ending: number }
  | { do: 'time is over'; on: number }
  | { do: 'sweep'; part: number }
  | { do: 'attest'; part: number; on: number }
  | { do: 'off'; part: number; scope: number }
  /** Without a scope: the one that was turned off last. */
  | { do: 'on'; part: number; scope: number | undefined; behind: number }
  | { do: 'permits lapse' }
  | { do: 'renew permits'; part: number }
  | { do: 'leave'; user: User }
  | { do: 'come back'; user: User }
  | { do: 'forget scripts' }
  | { do: 'restart'; part: number }
  | { do: 'befall'; part: number; after: number; fate: Blow };

export type Doing = Step['do'];

/** Groups one after the other; the steps of a group at the same time. */
export interface Sequence {
  /** Of the order in which commands reach Redis. */
  readonly order: number;
  readonly shards: number;
  /** Whose calls, and of which tools: few of each, so that budgets, limits and grants are reached. */
  readonly callers: readonly number[];
  readonly tools: readonly number[];
  readonly groups: readonly (readonly Step[])[];
}

const part = fc.nat({ max: PARTS - 1 });
// Mostly the newest, so that what is begun is also ended.
const on = fc.oneof(
  { weight: 3, arbitrary: fc.nat({ max: 1 }) },
  { weight: 1, arbitrary: fc.nat({ max: 5 }) },
);
const nth = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat({ max: 4 }) });
const user = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom<User>('U0BEN', 'U0CLEO') },
  { weight: 1, arbitrary: fc.constantFrom<User>(...USERS) },
);
const decision = fc.constantFrom<'approve' | 'deny'>('approve', 'approve', 'approve', 'deny');
const ending = fc.nat({ max: ENDINGS.length - 1 });
const ticket = fc.nat({ max: 2 });
const scope = fc.oneof(
  { weight: 1, arbitrary: fc.constant(0) },
  { weight: 1, arbitrary: fc.nat({ max: SCOPES.length - 1 }) },
);

const STEPS: { readonly [D in Doing]: fc.Arbitrary<Extract<Step, { do: D }>> } = {
  propose: fc.record({
    do: fc.constant('propose'),
    part,
    caller: fc.nat({ max: 1 }),
    tool: fc.nat({ max: 1 }),
    ticket,
    ending,
    // 0: without a key.
    key: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constant(1) }),
  }),
  click: fc.record({ do: fc.constant('click'), part, on, user, decision }),
  'deliver again': fc.record({ do: fc.constant('deliver again'), part, nth }),
  vote: fc.record({
    do: fc.constant('vote'),
    part,
    on,
    // Nobody's second account: that two are one person is what the desk knows, and not the store.
    user: fc.constantFrom<User>('U0BEN', 'U0CLEO', 'U0RITA'),
    decision,
  }),
  withdraw: fc.record({ do: fc.constant('withdraw'), part, on }),
  edit: fc.record({ do: fc.constant('edit'), part, on, user, ticket }),
  'give grant': fc.record({ do: fc.constant('give grant'), part, on, user, free: fc.boolean() }),
  'revoke grant': fc.record({ do: fc.constant('revoke grant'), part, nth }),
  attempt: fc.record({ do: fc.constant('attempt'), part, on }),
  'deliver a job': fc.record({ do: fc.constant('deliver a job'), part, nth }),
  'end the call': fc.record({ do: fc.constant('end the call'), nth, ending: fc.nat({ max: 2 }) }),
  'time is over': fc.record({ do: fc.constant('time is over'), on }),
  sweep: fc.record({ do: fc.constant('sweep'), part }),
  attest: fc.record({ do: fc.constant('attest'), part, on }),
  off: fc.record({ do: fc.constant('off'), part, scope }),
  on: fc.record({
    do: fc.constant('on'),
    part,
    scope: fc.option(scope, { nil: undefined, freq: 2 }),
    behind: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constant(1) }),
  }),
  'permits lapse': fc.record({ do: fc.constant('permits lapse') }),
  'renew permits': fc.record({ do: fc.constant('renew permits'), part }),
  leave: fc.record({ do: fc.constant('leave'), user }),
  'come back': fc.record({ do: fc.constant('come back'), user }),
  'forget scripts': fc.record({ do: fc.constant('forget scripts') }),
  restart: fc.record({ do: fc.constant('restart'), part }),
  befall: fc.record({
    do: fc.constant('befall'),
    part,
    after: fc.nat({ max: 5 }),
    fate: fc.constantFrom<Blow>('never sent', 'answer lost', 'slow', 'dies before', 'dies after'),
  }),
};

/** How often each is done, among the others. */
export type Weights = Partial<Record<Doing, number>>;

/** Things that belong together, each with something else at the same time: chance alone seldom puts them in this order. */
export type Story =
  | 'a voided grant'
  | 'a life'
  | 'an off'
  | 'a slow start'
  | 'a grant'
  | 'a budget'
  | 'a crash'
  | 'an edit'
  | 'a deadline';

type Group = readonly Step[];

function storiesWith(besides: fc.Arbitrary<Step>): { readonly [S in Story]: fc.Arbitrary<Group[]> } {
  const also = (...steps: fc.Arbitrary<Step>[]) =>
    fc
      .tuple(fc.tuple(...steps), fc.option(besides, { nil: undefined }))
      .map(([own, other]) => [...own, ...(other === undefined ? [] : [other])]);
  const newest = <S extends Step>(step: fc.Arbitrary<S>) =>
    step.map((taken) => ({ ...taken, on: 0 }) as Step);
  const by = (user: User) =>
    STEPS.click.map((click): Step => ({ ...click, on: 0, user, decision: 'approve' }));
  const of = (tool: ToolName) =>
    STEPS.propose.map((proposed): Step => ({ ...proposed, caller: 0, tool, key: 0 }));
  const approved = also(by('U0BEN'), by('U0CLEO'));
  const attempts = also(newest(STEPS.attempt), newest(STEPS.attempt));
  const onAgain = STEPS.on.map((step): Step => ({ ...step, scope: undefined, behind: 0 }));
  const given = newest(STEPS['give grant']).map((step) => ({ ...step, user: 'U0BEN', free: true }) as Step);
  const over = also(newest(STEPS['time is over']));
  return {
    'a life': fc.tuple(also(STEPS.propose), approved, attempts),
    'an off': fc.tuple(
      also(STEPS.propose),
      approved,
      also(newest(STEPS.attempt), STEPS.off, newest(STEPS.attempt)),
      also(onAgain),
      attempts,
    ),
    'a slow start': fc.tuple(
      also(STEPS.propose),
      approved,
      // About where an attempt asks for its admission.
      also(
        STEPS.befall.map((step): Step => ({ ...step, part: 0, after: 4 + (step.after % 3), fate: 'slow' })),
        newest(STEPS.attempt.map((step) => ({ ...step, part: 0 }))),
        STEPS.off,
      ),
      also(onAgain),
    ),
    'a grant': fc.tuple(
      also(of('ticket.label')),
      also(given),
      also(of('ticket.label'), of('ticket.label'), of('ticket.label')),
      also(newest(STEPS.attempt), STEPS.attempt),
    ),
    'a voided grant': fc.tuple(
      also(of('ticket.label')),
      also(given),
      also(STEPS.off),
      also(onAgain),
      also(of('ticket.label'), of('ticket.label')),
      attempts,
    ),
    'a budget': fc.tuple(
      also(of('ticket.create'), of('ticket.create'), of('ticket.create')),
      also(newest(STEPS.attempt), STEPS.attempt),
    ),
    'a crash': fc.tuple(
      also(STEPS.propose),
      also(STEPS.befall, by('U0BEN'), by('U0CLEO')),
      also(STEPS.befall, newest(STEPS.attempt)),
      attempts,
      over,
      also(STEPS.sweep, newest(STEPS.attempt)),
    ),
    'an edit': fc.tuple(
      also(of('db.write')),
      also(by('U0BEN')),
      also(
        newest(STEPS.edit).map((step) => ({ ...step, user: 'U0CLEO' }) as Step),
        by('U0CLEO'),
      ),
      approved,
      attempts,
    ),
    'a deadline': fc.tuple(
      also(STEPS.propose),
      also(by('U0BEN'), newest(STEPS['time is over']), by('U0CLEO')),
      also(STEPS.sweep, newest(STEPS.attempt), newest(STEPS['time is over'])),
    ),
  };
}

export function sequenceOf({
  weights,
  stories,
  most,
}: {
  readonly weights: Weights;
  readonly stories: Partial<Record<Story, number>>;
  readonly most: number;
}): fc.Arbitrary<Sequence> {
  const step: fc.Arbitrary<Step> = fc.oneof(
    ...Object.entries(weights).map(([name, weight]) => ({
      weight,
      arbitrary: STEPS[name as Doing] as fc.Arbitrary<Step>,
    })),
  );
  const told = storiesWith(step);
  const group = fc.array(step, { minLength: 1, maxLength: 3 }).map((steps): Group[] => [steps]);
  const groups = fc.oneof(
    { weight: 6, arbitrary: group },
    ...Object.entries(stories).map(([name, weight]) => ({ weight, arbitrary: told[name as Story] })),
  );
  return fc.record({
    order: fc.nat(),
    shards: fc.constantFrom(1, 1, 2),
    callers: fc.subarray([0, 1, 2, 3], { minLength: 1, maxLength: 2 }),
    tools: fc.subarray([0, 1, 2, 3], { minLength: 1, maxLength: 2 }),
    groups: fc.array(groups, { minLength: 1, maxLength: most, size: 'max' }).map((many) => many.flat()),
  });
}

/** Does one step, and notes what was told. Rejects with what no honest sequence may end in. */
export async function take(world: World, step: Step): Promise<void> {
  if (!('part' in step)) return takeOutside(world, step);
  const part = world.part(step.part);
  const { death } = part.wire;
  await Promise.race([takeIn(world, part, step).catch(orUnsure), death]);
}

/** Whoever gets one of these knows nothing, or is told why nothing was done: nobody was promised anything. */
const HONEST_REFUSALS = [StoreUnavailable, DecisionUnsure, CallError, ExcludedVote, DispatchUnavailable];

function orUnsure(error: unknown): void {
  if (!HONEST_REFUSALS.some((known) => error instanceof known)) throw error;
}

type Outside = Exclude<Step, { part: number }>;
type Inside = Extract<Step, { part: number }>;

async function takeOutside(world: World, step: Outside): Promise<void> {
  switch (step.do) {
    case 'end the call': {
      const alive = world.held.filter(({ executor }) => world.isAlive(executor));
      const call = alive.at(-1 - step.nth) ?? alive.at(-1);
      if (call === undefined) return;
      world.held.splice(world.held.indexOf(call), 1);
      call.end(ENDINGS[step.ending] ?? 'succeeds');
      await call.over.catch(orUnsure);
      return;
    }
    case 'time is over': {
      const proposal = proposalAt(world, step.on);
      if (proposal !== undefined) await world.leap(proposal.id);
      return;
    }
    case 'permits lapse':
      return world.lapsePermits();
    case 'leave':
      world.left.add(step.user);
      world.everLeft.add(step.user);
      return;
    case 'come back':
      world.left.delete(step.user);
      return;
    case 'forget scripts':
      await world.redis.script('FLUSH', 'SYNC');
      return;
  }
}

async function takeIn(world: World, part: Part, step: Inside): Promise<void> {
  switch (step.do) {
    case 'propose':
      return propose(world, part, step);
    case 'restart':
      return world.restart(step.part);
    case 'befall':
      return part.wire.doom(step.after, step.fate);
    case 'sweep':
      await part.sweeper.sweep();
      return;
    case 'off':
    case 'on':
    case 'renew permits':
      return flip(world, part, step);
    case 'revoke grant': {
      const grant = world.grants.at(-1 - step.nth) ?? world.grants.at(-1);
      if (grant === undefined) return;
      const revoked = await part.grants.revoke(grant, personOf('T0ACME', 'U0BEN'));
      if (revoked !== 'not_found') world.told.push({ is: 'grant revoked', grant });
      return;
    }
    case 'deliver again': {
      const signed = world.decisions.at(-1 - step.nth) ?? world.decisions.at(-1);
      if (signed === undefined) return;
      const decided = await part.store.decide(signed);
      const { proposal, person, decision } = signed.statement;
      if (!decided.ok) return;
      world.told.push({ is: pastOf(decision), proposal, person, settled: decided.settled });
      return;
    }
    case 'deliver a job': {
      const id = world.jobs.at(-1 - step.nth) ?? world.jobs.at(-1);
      if (id !== undefined) await world.attempt(part, id);
      return;
    }
    default: {
      const proposal = proposalAt(world, step.on);
      if (proposal !== undefined) await takeOn(world, part, proposal, step);
    }
  }
}

type Proposal = World['proposals'][number];

async function takeOn(
  world: World,
  part: Part,
  proposal: Proposal,
  step: Extract<Inside, { on: number }>,
): Promise<void> {
  const { id, team } = proposal;
  switch (step.do) {
    case 'click': {
      const answer = await part.desk.decide(part.click(id, step.user, team, step.decision));
      const person = personOf(team, step.user);
      if (!answer.ok) {
        const { decision } = step;
        world.told.push({ is: 'not counted', proposal: id, refusal: answer.refusal, person, decision });
        return;
      }
      remember(world, answer.record);
      world.told.push({ is: pastOf(step.decision), proposal: id, person, settled: answer.settled });
      return;
    }
    case 'vote':
      return vote(world, part, proposal, step);
    case 'withdraw':
      return withdraw(world, part, proposal);
    case 'edit': {
      const text = JSON.stringify({ ticket: `E-${step.ticket}`, ending: 'succeeds' });
      const { decision: _, ...click } = part.click(id, step.user, team, 'deny');
      const answer = await part.editDesk.submit(click, text);
      if (!answer.ok) return;
      const to = answer.to.terms.id;
      world.told.push({ is: 'edited', proposal: id, to });
      world.proposals.push({ ...proposal, id: to });
      return;
    }
    case 'give grant':
      return giveGrant(world, part, proposal, step);
    case 'attest':
      await part.attester.renew(id);
      return;
    case 'attempt':
      return world.attempt(part, id);
  }
}

async function propose(world: World, part: Part, step: Extract<Step, { do: 'propose' }>): Promise<void> {
  const caller = CALLERS[world.callers[step.caller % world.callers.length] ?? 0];
  const tool =
    typeof step.tool === 'string' ? step.tool : TOOL_NAMES[world.tools[step.tool % world.tools.length] ?? 0];
  if (caller === undefined || tool === undefined) return;
  const handle = await part.guard.propose(
    {
      tool,
      args: { ticket: `T-${step.ticket}`, ending: ENDINGS[step.ending] },
      ...(step.key === 0 ? {} : { idempotencyKey: `key-${step.key}` }),
    },
    { ...caller, run: world.name },
  );
  world.told.push({ is: 'proposed', proposal: handle.id });
  if (world.proposals.some(({ id }) => id === handle.id)) return;
  world.proposals.push({ id: handle.id, handle, team: caller.tenant === 'acme' ? 'T0ACME' : 'T0INITECH' });
}

/** As a desk records it that has judged the click a while ago, or that does not judge at all. */
async function vote(
  world: World,
  part: Part,
  { id, team }: Proposal,
  { user, decision }: Extract<Step, { do: 'vote' }>,
): Promise<void> {
  const record = await part.store.read(id);
  const opened = record && unseal([testKeys.proposal], record.termsText, record.seal);
  if (!opened?.ok || opened.sealed.terms.basis.kind !== 'people') return;
  const person = personOf(team, user);
  const signed = signedDecision(opened.sealed, decision, person, { reason: 'as agreed' });
  // Decided by now, but no vote any more: to be delivered again later.
  world.decisions.push(signed);
  try {
    const decided = await part.store.decide(signed);
    if (decided.ok) world.told.push({ is: pastOf(decision), proposal: id, person, settled: decided.settled });
  } catch (error) {
    // That it is refused so is what the model knows of whom the terms exclude.
    if (!(error instanceof ExcludedVote)) throw error;
  }
}

async function withdraw(world: World, part: Part, { id }: Proposal): Promise<void> {
  const record = await part.store.read(id);
  const opened = record && unseal([testKeys.proposal], record.termsText, record.seal);
  if (!opened?.ok) return;
  const { agent, principal } = opened.sealed.terms.context;
  const by = { agent: AgentId.parse(agent), principal: PrincipalId.parse(principal) };
  if ((await part.store.withdraw(id, by)) === 'settled') world.told.push({ is: 'withdrawn', proposal: id });
}

async function giveGrant(
  world: World,
  part: Part,
  { id, team }: Proposal,
  { user, free }: Extract<Step, { do: 'give grant' }>,
): Promise<void> {
  const wish = { uses: 2, lifeMs: 60 * 60_000, free: free ? [0, 1] : [] };
  const click = part.click(id, user, team, 'approve');
  const opened = await part.grantDesk.draft(click, wish);
  if (!opened.ok) return;
  const shown = click.sight.shown;
  const answer = await part.grantDesk.give(click, wish, shown);
  const person: PersonId = personOf(team, user);
  if (!answer.ok) {
    if (answer.approved) world.told.push({ is: 'approved', proposal: id, person, settled: true });
    return;
  }
  world.told.push({ is: 'granted', grant: answer.grant.id });
  if (!world.grants.includes(answer.grant.id)) world.grants.push(answer.grant.id);
}

async function flip(
  world: World,
  part: Part,
  step: Extract<Step, { do: 'off' | 'on' | 'renew permits' }>,
): Promise<void> {
  if (step.do === 'renew permits') {
    await world.renewPermits(part);
    return;
  }
  const { scope, key } = step.scope === undefined ? world.lastOff() : world.scopeNamed(step.scope);
  if (step.do === 'off') {
    const { confirmed, epoch, halted } = await part.writeSwitch.off({ scope, by: 'cli:model', why: 'so' });
    if (confirmed) world.told.push({ is: 'off', scope: key, epoch, halted });
    return;
  }
  const { epoch, answered, shards } = await part.writeSwitch.status();
  if (answered < shards) return;
  const expectedEpoch = epoch - step.behind;
  const answer = await part.writeSwitch.on({ scope, by: 'cli:model', why: 'so', expectedEpoch });
  if (answer.ok) world.told.push({ is: 'on', scope: key, epoch: answer.epoch, expected: expectedEpoch });
}

function remember(world: World, { state }: ProposalRecord): void {
  for (const signed of [...state.approvals, ...(state.status === 'denied' ? [state.denial] : [])]) {
    const known = world.decisions.some(({ signature }) => signature === signed.signature);
    if (!known) world.decisions.push(signed);
  }
}

function proposalAt(world: World, back: number): Proposal | undefined {
  return world.proposals.at(-1 - back) ?? world.proposals[0];
}

function pastOf(decision: 'approve' | 'deny'): 'approved' | 'denied' {
  return decision === 'approve' ? 'approved' : 'denied';
}
