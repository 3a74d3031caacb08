/**
 * One line of the product, broken. `checks`: tests that keep the promise, as a file and a part of their titles; they have
 * to go red. Where the product's line is written anew, it is written anew here as well.
 */
export interface Mutant {
  readonly breaks: string;
  readonly file: string;
  readonly line: string;
  readonly becomes: string;
  readonly checks: readonly [file: string, title: string];
}

const STORE = 'test/redis/proposal-store-redis.test.ts';
const SWITCH = 'test/redis/write-switch-redis.test.ts';
const EXECUTION = 'test/queue/execution.test.ts';
const JUDGEMENT = 'test/core/execution/judgement.test.ts';
const ADMIT = 'src/redis/lua/admit.lua';
const DECIDE = 'src/redis/lua/decide.lua';
/** Random sequences against the model: what one of these breaks, one of them meets. */
const DECIDING = ['test/model/deciding.test.ts', 'each proposal settles once'] as const;
const STARTING = ['test/model/starting.test.ts', 'nothing runs twice, unapproved or after off'] as const;
const CRASHING = ['test/model/crashing.test.ts', 'nothing runs twice, and everything ends'] as const;

export const MUTANTS: readonly Mutant[] = [
  {
    breaks: 'admission skips the state check: what was denied or is done starts',
    file: ADMIT,
    line: "if p.status ~= 'approved' then return answer('already_settled', key) end",
    becomes: '',
    checks: [STORE, 'admits only what is approved'],
  },
  {
    breaks: 'admission skips the epoch: it starts without a permit, and under a switch that lost its past',
    file: ADMIT,
    line: "if not epoch or not sealed or epoch < sealed then return answer('writes_off', key) end",
    becomes: 'epoch = epoch or 0',
    checks: [SWITCH, 'with nobody left to renew it'],
  },
  {
    breaks: 'admission does not ask whether the switch went off since: off and on resurrects',
    file: ADMIT,
    line: 'local scope = off_since(p)',
    becomes: 'local scope = nil',
    checks: [STORE, 'a proposal restored from before the flip'],
  },
  {
    breaks: 'admission takes terms that were not approved',
    file: ADMIT,
    line: "if p.digest ~= ask.digest then return answer('terms_changed', key) end",
    becomes: '',
    checks: [STORE, 'admits no other terms'],
  },
  {
    breaks: 'an admission that was given back is good for a second start',
    file: ADMIT,
    line: "if p.status == 'executing' or p['admission:' .. ask.admission] then return answer('already_admitted', key) end",
    becomes: "if p.status == 'executing' then return answer('already_admitted', key) end",
    checks: [STORE, 'an admission id that was used is used'],
  },
  {
    breaks: 'admission starts what is too late to start',
    file: ADMIT,
    line: "if not startBefore or now >= startBefore then return answer('too_late', key) end",
    becomes: '',
    checks: [STORE, 'expires what nothing started in time'],
  },
  {
    breaks: 'a decision skips the state check: a settled proposal is settled again',
    file: DECIDE,
    line: "if p.status ~= 'pending' then return answer('already_settled', key) end",
    becomes: '',
    checks: [STORE, '20 simultaneous clicks settle once'],
  },
  {
    breaks: 'a click after the deadline counts',
    file: DECIDE,
    line: "if not deadline or now >= deadline then return answer('too_late', key) end",
    becomes: '',
    checks: [STORE, 'a click after the deadline'],
  },
  {
    breaks: 'the first of several approvers settles it alone',
    file: DECIDE,
    line: 'local settles = #voters >= quorum',
    becomes: 'local settles = true',
    checks: [STORE, 'the same person twice is one vote'],
  },
  {
    breaks: 'whom the terms exclude approves',
    file: DECIDE,
    line: "if person == ask.person then return answer('excluded', key) end",
    becomes: '',
    checks: [STORE, 'never counts whom the terms exclude'],
  },
  {
    breaks: 'a state changes without its audit entry',
    file: DECIDE,
    line: "audit('proposal.denied', p.tenant, id, { by = ask.person })",
    becomes: '',
    checks: [STORE, 'each step of a life leaves its entry'],
  },
  {
    breaks: 'what is given back after off stays approved',
    file: 'src/redis/lua/give-back.lua',
    line: 'local scope = off_since(p)',
    becomes: 'local scope = nil',
    checks: [STORE, 'halts what is given back after off'],
  },
  {
    breaks: 'a call in hand is declared unknown while its executor answers',
    file: 'src/redis/lua/declare-unknown.lua',
    line: "if leaseUntil and now < leaseUntil then return answer('not_due') end",
    becomes: '',
    checks: [STORE, 'does not declare unknown what still holds its lease'],
  },
  {
    breaks: 'a permit is renewed although people turned writes off',
    file: 'src/redis/lua/switch-renew.lua',
    line: "if state ~= 'on' then return { 'off', left, epoch } end",
    becomes: '',
    checks: [SWITCH, 'goes off in one word'],
  },
  {
    breaks: 'a renewal of the permits waits for halting that goes on',
    file: 'src/redis/write-switch-redis.ts',
    line: 'if (this.#halting.has(haltingName(shard, key, epoch))) continue;',
    becomes: '',
    checks: [SWITCH, 'renews permits while it halts'],
  },
  {
    breaks: 'whoever stops does not wait for the clicks in hand',
    file: 'src/slack/in-flight.ts',
    line: 'await Promise.race([idle(), late]);',
    becomes: 'void idle;',
    checks: ['test/slack/in-flight.test.ts', 'a drain waits'],
  },
  {
    breaks: 'a call starts however long its admission took: off has answered meanwhile',
    file: 'src/queue/execution.ts',
    line: 'if (tookMs < this.#startDeadlineMs) {',
    becomes: 'if (tookMs >= 0) {',
    checks: [EXECUTION, 'over the limit gives the admission back'],
  },
  {
    breaks: 'the sweeper wakes nothing that a crash left behind',
    file: 'src/queue/sweeper.ts',
    line: 'await this.#dispatch.wake(id);',
    becomes: '',
    checks: ['test/queue/sweeper.test.ts', 'then wakes it'],
  },
  {
    breaks: 'the executor believes unsigned approvals',
    file: 'src/core/execution/judgement.ts',
    line: 'if (!keys.some((key) => decisionIsGenuine(key, signed))) {',
    becomes: 'if (keys.length === 0) {',
    checks: [JUDGEMENT, 'that was signed with another key'],
  },
  {
    breaks: 'the executor takes an approval of another proposal',
    file: 'src/core/execution/judgement.ts',
    line: 'statement.nonce !== terms.nonce ||\n    statement.termsDigest !== termsDigest ||\n    statement.decision',
    becomes: 'statement.decision',
    checks: [JUDGEMENT, 'swapped between two equal calls|a genuine decision'],
  },
  {
    breaks: 'the job is promoted before the decision is written',
    file: 'src/core/approval/decision-desk.ts',
    line: 'await this.#parts.store.decide(signed, earlier).catch(',
    becomes:
      'await this.#parts.dispatch.wake(proposal).then(() => this.#parts.store.decide(signed, earlier)).catch(',
    checks: ['test/faults/wake-order.test.ts', 'woken only once the decision is written'],
  },
  {
    breaks: 'the requester approves their own call',
    file: 'src/core/approval/decision-desk.ts',
    line: 'if (exclusion !== undefined) return no(exclusion);',
    becomes: 'void exclusion;',
    checks: ['test/attacks/row-06-wrong-person.test.ts', 'clicks'],
  },
  {
    breaks: 'the guard proposes what the policy forbids',
    file: 'src/guard/guard.ts',
    line: "if (verdict.verdict === 'forbid') {",
    becomes: "if (verdict.verdict === ('never' as string)) {",
    checks: ['test/guard/guard.test.ts', 'forbids every write under the safe default policy'],
  },
  {
    breaks: "an agent gets hold of another one's proposal, and its result",
    file: 'src/guard/guard.ts',
    line: 'if (sealed === undefined || !sameCaller(sealed.terms.context, caller)) {',
    becomes: 'if (sealed === undefined) {',
    checks: ['test/guard/guard.test.ts', 'lets nobody attach'],
  },
  {
    breaks: 'a budget is never spent',
    file: 'src/redis/lua/create.lua',
    line: 'if live >= ask.budgetMax then',
    becomes: 'if false then',
    checks: DECIDING,
  },
  {
    breaks: 'a grant is used more often than it says',
    file: 'src/redis/lua/create.lua',
    line: "if used > ask.grant.maxUses then return answer('grant_spent') end",
    becomes: '',
    checks: DECIDING,
  },
  {
    breaks: 'a grant outlives an off',
    file: 'src/redis/lua/grant-standing.lua',
    line: '  if scope then\n    local cause',
    becomes: '  if false then\n    local cause',
    checks: STARTING,
  },
  {
    breaks: 'a vote is counted for what was turned off since',
    file: DECIDE,
    line: 'local scope = off_since(p)',
    becomes: 'local scope = nil',
    checks: DECIDING,
  },
  {
    breaks: 'an edit leaves the old call to be approved',
    file: 'src/redis/lua/edit.lua',
    line: "halt(old_key, from, old, { kind = 'edited', by = ask.by, to = ask.id })",
    becomes: '',
    checks: DECIDING,
  },
  {
    breaks: 'an admission leaves no entry',
    file: ADMIT,
    line: "audit('admission.granted', p.tenant, id, { admission = ask.admission, executor = ask.executor, epoch = epoch })",
    becomes: '',
    checks: STARTING,
  },
  {
    breaks: 'what expires leaves no entry',
    file: 'src/redis/lua/expire.lua',
    line: "audit('proposal.expired', p.tenant, ask.id, { stage = stage })",
    becomes: '',
    checks: DECIDING,
  },
  {
    breaks: 'what still has time expires',
    file: 'src/redis/lua/expire.lua',
    line: "if lapses and now < lapses then return answer('not_due') end",
    becomes: '',
    checks: CRASHING,
  },
  {
    breaks: 'writes are turned on for an epoch that is over',
    file: 'src/redis/lua/switch-on.lua',
    line: "if current > ask.expected then return { 'epoch_moved', tostring(current), now } end",
    becomes: '',
    checks: STARTING,
  },
  {
    breaks: 'what is withdrawn is withdrawn again',
    file: 'src/redis/lua/withdraw.lua',
    line: "if p.status ~= 'pending' then return answer('lost_race') end",
    becomes: '',
    checks: DECIDING,
  },
];
