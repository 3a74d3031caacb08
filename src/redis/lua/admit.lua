-- KEYS: proposal. ask: id, digest, admission, executor, leaseMs, seen.
local key, id = KEYS[OWN + 1], ask.id
local p = fetch(key)
if not p then return answer('not_found') end
local broken = damage_around(p)
if broken then return broken end
if p.digest ~= ask.digest then return answer('terms_changed', key) end
-- An admission id is used once, also where it was given back.
if p.status == 'executing' or p['admission:' .. ask.admission] then return answer('already_admitted', key) end
if p.status == 'pending' then return answer('not_approved', key) end
if p.status ~= 'approved' then return answer('already_settled', key) end

local scope = off_since(p)
if scope then
  halt(key, id, p, cause_of(scope))
  return answer('writes_off', key)
end
local epoch = armed_epoch(ask.seen)
local sealed = whole(p.epoch)
-- An epoch below that of the terms is a switch that lost its past.
if not epoch or not sealed or epoch < sealed then return answer('writes_off', key) end
if halt_if_spent(key, id, p) then return answer('already_admitted', key) end
local startBefore = whole(p.startBefore)
if not startBefore or now >= startBefore then return answer('too_late', key) end

if (p.counterKey or '') ~= '' then
  -- Both as sealed: when it was approved stands in the record alone, and is not before it was made.
  local createdAt, window = whole(p.createdAt), whole(p.budgetPerMs)
  local at = redis.pcall('ZSCORE', PREFIX .. 'budget:' .. p.counterKey, id)
  -- Once its window is over a reservation has done its work, and may be gone.
  local over = createdAt and window and now - createdAt >= window
  if type(at) ~= 'string' and not over then return answer('budget_missing', key) end
end

if ask.grant then
  broken = grant_damage(ask.grant.id, p.tenant or '-')
  if broken then return broken end
  local grant, uses = grant_standing(ask.grant, p)
  if not grant then return answer(uses, key) end
  -- Its own use, and none beyond what was signed.
  if uses > ask.grant.maxUses or not redis.call('ZSCORE', grant_uses_key(ask.grant.id), id) then
    return answer('grant_missing', key)
  end
end

local leaseUntil = now + ask.leaseMs
audit('admission.granted', p.tenant, id, { admission = ask.admission, executor = ask.executor, epoch = epoch })
redis.call('HSET', key, 'admission:' .. ask.admission, '1')
move(key, id, p, 'executing',
  { 'admission', ask.admission, 'executor', ask.executor, 'admittedAt', now, 'leaseUntil', leaseUntil }, leaseUntil)
return answer('admitted', key)
