import type { AuditEntry } from '../../src/core/audit/audit-entry.ts';
import type { ProposalRecord } from '../../src/core/proposal/proposal.ts';
import { ProposalId, shardOfProposal } from '../../src/core/proposal/proposal-id.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { GrantStoreRedis } from '../../src/redis/grant-store-redis.ts';
import { shardKey } from '../../src/redis/keys.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { testKeys } from '../sealed-terms.ts';
import { covers, humanOf, Model, ModelBroken, type ModelProposal, type Status, userOf } from './model.ts';
import type { Part, Told, World } from './world.ts';

/** What is looked at after a sequence, from outside: the entries, the records, the indexes, what ran, what was told. */

const OPEN: Readonly<Partial<Record<Status, string>>> = {
  pending: 'pending',
  approved: 'ready',
  executing: 'executing',
};

export interface Seen {
  readonly entries: readonly AuditEntry[];
  readonly models: readonly Model[];
  readonly proposals: ReadonlyMap<string, ModelProposal>;
}

/** @throws ModelBroken with the first promise that does not hold. */
export async function promisesHold(world: World): Promise<Seen> {
  const entries = await new AuditLogRedis(world).read({ limit: 100_000 });
  const models = Array.from({ length: world.shards }, (_, shard) => replayed(world, shard, entries));
  const proposals = new Map(models.flatMap((model) => [...model.proposals]));
  await recordsAgree(world, proposals);
  await indexesAgree(world, proposals);
  await grantsAgree(world, models);
  await permitsAgree(world, models);
  ranAsAdmitted(world, proposals);
  nothingStartedAfterOff(world, proposals);
  for (const told of world.told) isTrueStill(told, { proposals, models }, world.everLeft);
  return { entries, models, proposals };
}

function replayed(world: World, shard: number, entries: readonly AuditEntry[]): Model {
  const model = new Model(world.everLeft);
  const own = `s${shard}/`;
  const marks = world.marks.filter((mark) => mark.shard === shard);
  const markedAfter = (place: string) => {
    for (const mark of marks) if (mark.after === place) model.mark(mark);
  };
  markedAfter('');
  for (const entry of entries) {
    if (!entry.place.startsWith(own)) continue;
    try {
      model.happened(entry);
    } catch (error) {
      if (!(error instanceof ModelBroken)) throw error;
      throw new ModelBroken(`${error.message}\n${storyOf(entries, entry)}`);
    }
    markedAfter(entry.place.slice(own.length));
  }
  model.end();
  return model;
}

/** What happened to the same proposal, and to the switch, up to this entry. */
function storyOf(entries: readonly AuditEntry[], last: AuditEntry): string {
  return entries
    .slice(0, entries.indexOf(last) + 1)
    .filter(({ proposal, kind }) => proposal === last.proposal || kind.startsWith('switch.'))
    .map(({ place, kind, detail }) => `  ${place} ${kind} ${JSON.stringify(detail)}`)
    .join('\n');
}

/** Every change of state has its entry, and none has two: what the entries lead to is what stands in Redis. */
async function recordsAgree(world: World, proposals: ReadonlyMap<string, ModelProposal>): Promise<void> {
  const store = new ProposalStoreRedis({ ...world, keys: [testKeys.proposal] });
  const keys = await world.redis.keys('{s*}:proposal:*');
  must(keys.length === proposals.size, `${keys.length} records, and ${proposals.size} were created`);
  await Promise.all(
    [...proposals.values()].map(async (proposal) => {
      const { id, status, revision } = proposal;
      const record = await store.read(ProposalId.parse(id));
      if (record === undefined) throw new ModelBroken(`${id} is gone`);
      const { state } = record;
      must(state.status === status, `${id} is ${state.status}, and its entries lead to ${status}`);
      must(
        record.revision === revision,
        `${id} changed ${record.revision} times, and has ${revision} entries`,
      );
      const people = approversOf(record);
      must(
        people.join() === proposal.approvers.join(),
        `${id} has the approvals of ${people.join()}, and its entries those of ${proposal.approvers.join()}`,
      );
      if (state.status === 'denied') {
        must(state.denial.statement.person === proposal.deniedBy, `${id} is not denied by who denied it`);
      }
    }),
  );
}

function approversOf({ state }: ProposalRecord): string[] {
  return state.approvals.map(({ statement }) => statement.person);
}

async function indexesAgree(world: World, proposals: ReadonlyMap<string, ModelProposal>): Promise<void> {
  for (let shard = 0; shard < world.shards; shard += 1) {
    const own = [...proposals.values()].filter(({ id }) => shardOfProposal(id as ProposalId) === shard);
    const wanted = new Map<string, string[]>();
    const put = (key: string, id: string) => wanted.set(key, [...(wanted.get(key) ?? []), id]);
    for (const name of ['pending', 'ready', 'executing', 'spent'] as const)
      wanted.set(shardKey(shard, name), []);
    for (const { id, status, call } of own) {
      const name = OPEN[status];
      if (name !== undefined) {
        put(`{s${shard}}:${name}`, id);
        put(`{s${shard}}:tenant:${call.tenant}:${name}`, id);
        if (name === 'pending') put(`{s${shard}}:agent:${call.tenant}:${call.agent}:pending`, id);
      }
      if (status !== 'pending' && status !== 'approved') put(shardKey(shard, 'spent'), id);
    }
    const indexed = await world.redis.keys(
      `{s${shard}}:*:*:{pending,ready,executing}`.replace(/\{pending.*$/, '*'),
    );
    for (const key of indexed) {
      if (/:(?:tenant|agent):.*:(?:pending|ready|executing)$/.test(key) && !wanted.has(key))
        wanted.set(key, []);
    }
    await Promise.all(
      [...wanted].map(async ([key, ids]) => {
        const found = await world.redis.zrange(key, '0', '-1');
        must(
          found.sort().join() === ids.sort().join(),
          `${key} holds ${found.join()}, and ${ids.join()} belong there`,
        );
      }),
    );
  }
}

async function grantsAgree(world: World, models: readonly Model[]): Promise<void> {
  const grants = new GrantStoreRedis({ ...world, keys: [testKeys.proposal] });
  for (const { id, uses, ended } of models.flatMap((model) => [...model.grants.values()])) {
    const stored = await grants.read(id as Parameters<typeof grants.read>[0]);
    must(stored?.uses.length === uses, `${id} has ${stored?.uses.length} uses, and ${uses} entries`);
    must((stored?.end !== undefined) === ended, `${id} has ended or not, and its entries say otherwise`);
  }
}

/** Who turned everything off took the permits away, and nobody alive gives new ones. */
async function permitsAgree(world: World, models: readonly Model[]): Promise<void> {
  for (const [shard, model] of models.entries()) {
    const armed = await world.redis.exists(shardKey(shard, 'armed'));
    must(model.isOn || armed === 0, `everything is off in shard ${shard}, and there is a permit`);
  }
}

function ranAsAdmitted(world: World, proposals: ReadonlyMap<string, ModelProposal>): void {
  const starts = world.told.filter((told) => told.is === 'started').map(({ admission }) => admission);
  must(new Set(starts).size === starts.length, 'one admission started two runs');
  for (const { id, admissions, returned, status } of proposals.values()) {
    const started = admissions.filter((admission) => starts.includes(admission));
    must(started.length <= 1, `${id} ran ${started.length} times`);
    must(
      !returned.some((admission) => starts.includes(admission)),
      `${id} ran, and its admission was given back`,
    );
    if (status === 'succeeded' || status === 'failed')
      must(started.length === 1, `${id} ${status} and never ran`);
  }
  const admitted = new Set([...proposals.values()].flatMap(({ admissions }) => admissions));
  for (const admission of starts) must(admitted.has(admission), `a tool ran that nothing admitted`);
}

/** In the order in which things happened here: the answer to `off`, and then a start that it covers. */
function nothingStartedAfterOff(world: World, proposals: ReadonlyMap<string, ModelProposal>): void {
  const offs: Extract<Told, { is: 'off' }>[] = [];
  for (const told of world.told) {
    if (told.is === 'off') offs.push(told);
    if (told.is !== 'started') continue;
    const proposal = [...proposals.values()].find(({ admissions }) => admissions.includes(told.admission));
    const off = offs.find(
      ({ scope, epoch }) => proposal && covers(scope, proposal.call) && proposal.epoch < epoch,
    );
    must(off === undefined, `${proposal?.id} started after off of ${off?.scope} had answered`);
  }
}

/** What somebody was told is true for good. */
function isTrueStill(
  told: Told,
  { proposals, models }: Pick<Seen, 'proposals' | 'models'>,
  everLeft: ReadonlySet<string>,
): void {
  const said = JSON.stringify(told);
  const of = (id: string): ModelProposal => {
    const proposal = proposals.get(id);
    if (proposal === undefined) throw new ModelBroken(`told, and there is no such proposal: ${said}`);
    return proposal;
  };
  const grantsOfAll = models.flatMap((model) => [...model.grants.values()]);
  switch (told.is) {
    case 'started':
      return;
    case 'proposed':
      of(told.proposal);
      return;
    case 'approved':
      must(of(told.proposal).everApproved.has(told.person), `an approval was lost: ${said}`);
      if (told.settled) must(of(told.proposal).status !== 'pending', `it is not settled: ${said}`);
      return;
    case 'denied':
      must(
        of(told.proposal).status === 'denied' && of(told.proposal).deniedBy === told.person,
        `a denial was lost: ${said}`,
      );
      return;
    case 'not counted':
      refusedRightly(told, of(told.proposal), everLeft, said);
      return;
    case 'withdrawn':
      must(of(told.proposal).status === 'withdrawn', `a withdrawal was lost: ${said}`);
      return;
    case 'edited':
      must(of(told.proposal).editedTo === of(told.to).id, `an edit was lost: ${said}`);
      return;
    case 'ended':
      must(of(told.proposal).status === told.status, `an end was lost: ${said}`);
      return;
    case 'granted':
      must(
        grantsOfAll.some(({ id }) => id === told.grant),
        `a grant was lost: ${said}`,
      );
      return;
    case 'grant revoked':
      must(
        grantsOfAll.some(({ id, ended }) => id === told.grant && ended),
        `a grant goes on: ${said}`,
      );
      return;
    case 'off':
      for (const id of told.halted) must(of(id).status === 'halted', `${id} is not halted: ${said}`);
      return;
    case 'on':
      must(told.epoch > told.expected, `turning on took no new epoch: ${said}`);
  }
}

/** Nobody is told a reason that was not so. */
function refusedRightly(
  { refusal, person, decision }: Extract<Told, { is: 'not counted' }>,
  { status, basis, everLate, everApproved, deniedBy, principal, editors }: ModelProposal,
  everLeft: ReadonlySet<string>,
  said: string,
): void {
  const holds: Readonly<Record<string, boolean>> = {
    already_settled: status !== 'pending',
    // The same decision again is no second one.
    already_voted: decision === 'deny' || deniedBy === person || !everApproved.has(person),
    too_late: everLate,
    not_this_card: basis !== 'people',
    writes_off: status === 'halted',
    own_call: humanOf(userOf(principal)) === humanOf(userOf(person)),
    own_call_other_account: humanOf(userOf(principal)) === humanOf(userOf(person)),
    own_edit: editors.some((editor) => humanOf(userOf(editor)) === humanOf(userOf(person))),
    not_an_approver: userOf(person) === 'U0DAN' || everLeft.has(userOf(person)),
    cannot_check: true,
  };
  must(holds[refusal] ?? false, `refused for no reason: ${said}`);
}

/**
 * Everything ends: what can start does, when it is looked at once more, and the rest settles when its time is over.
 * @throws ModelBroken
 */
export async function everythingEnds(world: World, { models, proposals }: Seen): Promise<void> {
  world.ending = true;
  for (const { wire } of world.parts) wire.spare();
  const part = world.patientPart();
  await world.renewPermits(part);
  const running = world.held.filter(({ executor }) => world.isAlive(executor));
  for (const call of running) call.end('succeeds');
  await Promise.all(running.map(({ over }) => over));
  for (const model of models) {
    for (const proposal of model.proposals.values()) {
      if (proposal.status === 'approved') await startsWhereItMay(world, part, model, proposal);
    }
  }
  for (const { id, status } of proposals.values()) if (status in OPEN) await world.leap(ProposalId.parse(id));
  await part.sweeper.sweep();
  const after = await promisesHold(world);
  for (const { id, status } of after.proposals.values()) must(!(status in OPEN), `${id} is stuck: ${status}`);
}

/** Tries: on a busy machine a permit may have lapsed again before it is asked for. */
const TRIES = 20;
const RAN: readonly string[] = ['succeeded', 'failed', 'unknown'];

async function startsWhereItMay(
  world: World,
  part: Part,
  model: Model,
  proposal: ModelProposal,
): Promise<void> {
  const id = ProposalId.parse(proposal.id);
  const startable = model.startable(proposal);
  await part.attester.renew(id);
  let attempt = await part.execution.attempt(id);
  for (let tries = 1; startable && attempt.next === 'again' && tries < TRIES; tries += 1) {
    await world.renewPermits(part);
    await part.attester.renew(id);
    attempt = await part.execution.attempt(id);
  }
  const ran = attempt.next === 'done' && RAN.includes(attempt.status);
  must(ran || !startable, `${id} could start, and does not: ${JSON.stringify(attempt)}`);
}

function must(holds: boolean, complaint: string): void {
  if (!holds) throw new ModelBroken(complaint);
}
