-- KEYS: proposal, idempotency key, budget zset; the proposal's own key stands in where there is none.
-- ask: id, digest, epoch, createdAt, deadline, startWithinMs, basis, quorum, excluded (JSON text), tenant, environment,
--   tool, agent, principal, nonce, argumentsDigest, counterKey, budgetMax, budgetPerMs, pendingPerAgent,
--   pendingPerTenant, cooldownMs, remindAt, escalateAt, auditBacklogMax, seen.
-- ARGV: ask, terms text, seal, detail of the audit entry.
local key, idem, budget = KEYS[OWN + 1], KEYS[OWN + 2], KEYS[OWN + 3]
local broken = damage_around(ask)
if broken then return broken end

-- The same proposal again: an answer that was lost on its way. Settled and gone, it is not made anew.
local same = fetch(key)
if same then
  if same.digest == ask.digest then return answer('joined', key) end
  return answer('conflict', nil, ask.id)
end
if redis.call('ZSCORE', SPENT, ask.id) then return answer('conflict', nil, ask.id) end
if ask.idem then
  local standing = redis.call('GET', idem)
  local p = standing and fetch(proposal_key(standing))
  if p then
    if p.tool == ask.tool and p.argumentsDigest == ask.argumentsDigest and p.principal == ask.principal then
      return answer('joined', proposal_key(standing))
    end
    return answer('conflict', nil, standing)
  end
end

local epoch = armed_epoch(ask.seen)
local scope, entry = off_now(ask)
if scope then return answer('writes_off', nil, entry) end
if not epoch then return answer('writes_off', nil, '') end
if epoch ~= ask.epoch or math.abs(now - ask.createdAt) > 5000 then return answer('stale_terms') end
-- What nobody seals must not go on growing: nothing new begins, and what has begun may end.
local unsealed = audit_backlog()
if unsealed > ask.auditBacklogMax then return answer('audit_behind', nil, unsealed) end

-- People said no to this a short time ago; they are not asked again for as long as the policy says.
local denied, left = denied_lately(ask, ask.cooldownMs)
if denied then
  audit('call.forbidden', ask.tenant, nil, {
    reason = 'cooling_down', tool = ask.tool, environment = ask.environment, agent = ask.agent,
    principal = ask.principal, argumentsDigest = ask.argumentsDigest,
    denied = string.sub(denied, #PREFIX + #'proposal:' + 1), retryAfterMs = left,
  })
  return answer('cooling_down', denied, left)
end

local p = {
  tenant = ask.tenant, agent = ask.agent, environment = ask.environment, tool = ask.tool, revision = '0',
  idem = ask.idem and idem or '',
}
if ask.basis == 'people' then
  local waiting = indexes('pending', p)
  if redis.call('ZCARD', waiting[3]) >= ask.pendingPerAgent then
    return answer('too_many_pending', nil, ask.pendingPerAgent)
  end
  if redis.call('ZCARD', waiting[2]) >= ask.pendingPerTenant then
    return answer('too_many_pending', nil, ask.pendingPerTenant)
  end
end

-- As a policy may say it.
local LONGEST_WINDOW_MS = 31 * 24 * 60 * 60 * 1000

-- A sliding window: one member a reservation, and none is ever given back. The companion says what must be there, so
-- that a counter that was deleted, or lost a member, is missing and not zero.
local reserved
if ask.counterKey then
  local expected = { [budget] = 'zset', [BUDGETS] = 'hash' }
  broken = damage(expected)
  if broken then return broken end
  local companion = redis.call('HGET', BUDGETS, ask.counterKey)
  local count = redis.call('ZCARD', budget)
  if companion then
    local said, newest = string.match(companion, '^(%d+) (%d+)$')
    if not said then return answer('budget_missing') end
    if whole(newest) > now - ask.budgetPerMs and count ~= whole(said) then return answer('budget_missing') end
  elseif count > 0 then
    return answer('budget_missing')
  end
  local lapsed = now - ask.budgetPerMs
  local live = redis.call('ZCOUNT', budget, '(' .. lapsed, '+inf')
  if live >= ask.budgetMax then
    local oldest = redis.call('ZRANGEBYSCORE', budget, '(' .. lapsed, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    return answer('over_budget', nil, math.max(1, tonumber(oldest[2]) + ask.budgetPerMs - now))
  end
  reserved = { lapsed = lapsed, live = live + 1 }
end

-- One use of what somebody allowed before, taken in the step that writes the proposal.
local grant, used
if ask.basis == 'grant' then
  broken = grant_damage(ask.grant.id, ask.tenant)
  if broken then return broken end
  local why
  grant, why = grant_standing(ask.grant, ask)
  if not grant then return answer(why) end
  used = why + 1
  if used > ask.grant.maxUses then return answer('grant_spent') end
end

audit('proposal.created', ask.tenant, ask.id, ARGV[4])
if ask.basis == 'policy' then
  audit('proposal.approved', ask.tenant, ask.id, { by = 'policy', startBefore = now + ask.startWithinMs })
end
if grant then
  audit('proposal.approved', ask.tenant, ask.id, { by = 'grant', startBefore = now + ask.startWithinMs })
  audit('grant.used', ask.tenant, ask.id, { grant = ask.grant.id, use = used, of = ask.grant.maxUses })
  redis.call('ZADD', grant_uses_key(ask.grant.id), now, ask.id)
  redis.call('PEXPIREAT', grant_uses_key(ask.grant.id), ask.grant.expires + GRANTS_KEPT_MS)
  redis.call('HSET', grant_key(ask.grant.id), 'uses', used)
  grant_changed(ask.grant.id, grant)
end

if reserved then
  redis.call('ZREMRANGEBYSCORE', budget, '-inf', reserved.lapsed)
  redis.call('ZADD', budget, now, ask.id)
  redis.call('PEXPIRE', budget, ask.budgetPerMs)
  redis.call('HSET', BUDGETS, ask.counterKey, reserved.live .. ' ' .. now)
  -- Agents come and go: of those counters that no policy looks back on any more, a few are forgotten each time.
  local some = redis.call('HRANDFIELD', BUDGETS, 3, 'WITHVALUES')
  for i = 1, #some, 2 do
    local newest = whole(string.match(some[i + 1], '^%d+ (%d+)$'))
    if newest and newest < now - LONGEST_WINDOW_MS then redis.call('HDEL', BUDGETS, some[i]) end
  end
end
write_record(key, ask, ARGV[2], ARGV[3], p.idem)
if p.idem ~= '' then redis.call('SET', idem, ask.id) end
if ask.basis == 'policy' or ask.basis == 'grant' then
  local startBefore = now + ask.startWithinMs
  move(key, ask.id, p, 'approved', { 'approvedAt', now, 'startBefore', startBefore }, startBefore)
else
  move(key, ask.id, p, 'pending', {}, ask.deadline)
end
return answer('new', key)
