-- KEYS: proposal. ask: id, person, decision, digest, nonce, rechecked. ARGV: ask, the signed decision, detail of the audit entry.
local key, id = KEYS[OWN + 1], ask.id

-- The person's last decisions, for their inbox. Whatever is under that key, it keeps nobody from deciding.
local function remember_decision()
  local recent = PREFIX .. 'recent:' .. ask.person
  redis.pcall('ZADD', recent, now, id)
  redis.pcall('ZREMRANGEBYRANK', recent, 0, -11)
  redis.pcall('PEXPIRE', recent, RETENTION_MS)
end

local p = fetch(key)
if not p then return answer('not_found') end
local broken = damage_around(p)
if broken then return broken end
if p.digest ~= ask.digest or p.nonce ~= ask.nonce then return answer('terms_changed', key) end

-- Votes are keyed by person: however often and wherever somebody clicks, it is one vote.
local vote = p['vote:' .. ask.person]
local voted = p['voted:' .. ask.person]
if vote and voted == ask.decision then
  return answer('replayed', key, p.settledBy == ask.person and '1' or '0')
end
-- Who approved may still deny while it is pending: a denial is final, so it can only make the world safer.
if vote and not (ask.decision == 'deny' and p.status == 'pending') then return answer('already_voted', key) end
if p.status == 'expired' and p.stage == 'deciding' then return answer('too_late', key) end
if p.status ~= 'pending' then return answer('already_settled', key) end
local deadline = whole(p.deadline)
if not deadline or now >= deadline then return answer('too_late', key) end

local quorum = whole(p.quorum)
local readable, excluded = pcall(cjson.decode, p.excluded or '')
local listed, voters = pcall(cjson.decode, p.voters or '[]')
if not quorum or quorum < 1 or not readable or type(excluded) ~= 'table' or not listed or type(voters) ~= 'table' then
  return redis.error_reply('STORE_DAMAGED ' .. key .. ' lacks its quorum, its excluded people or its voters')
end

if ask.decision == 'deny' then
  local remaining = {}
  for _, person in ipairs(voters) do
    if person ~= ask.person then remaining[#remaining + 1] = person end
  end
  audit('decision.deny', p.tenant, id, ARGV[3])
  audit('proposal.denied', p.tenant, id, { by = ask.person })
  redis.call('HSET', key, 'vote:' .. ask.person, ARGV[2], 'voted:' .. ask.person, 'deny', 'settledBy', ask.person,
    'voters', #remaining > 0 and cjson.encode(remaining) or '[]')
  remember_denial(id, p)
  remember_decision()
  move(key, id, p, 'denied', { 'deniedAt', now, 'denial', ARGV[2] })
  return answer('settled', key)
end

local scope = off_since(p)
if scope then
  halt(key, id, p, cause_of(scope))
  return answer('writes_off', key)
end
if halt_if_spent(key, id, p) then return answer('already_settled', key) end
-- The service refuses these before; a vote that gets here all the same is a fault, and does not count.
for _, person in ipairs(excluded) do
  if person == ask.person then return answer('excluded', key) end
end

-- Who approved before must have been found entitled still, in the look that this vote comes from.
if ask.rechecked and #voters + 1 >= quorum then
  local still = {}
  for _, person in ipairs(ask.rechecked) do still[person] = true end
  for _, person in ipairs(voters) do
    if not still[person] then return answer('recheck', key) end
  end
end
voters[#voters + 1] = ask.person
local settles = #voters >= quorum
audit('decision.approve', p.tenant, id, ARGV[3])
local startBefore
if settles then
  startBefore = now + (whole(p.startWithinMs) or 0)
  audit('proposal.approved', p.tenant, id, { by = 'people', approvers = voters, quorum = quorum, startBefore = startBefore })
end
redis.call('HSET', key, 'vote:' .. ask.person, ARGV[2], 'voted:' .. ask.person, 'approve', 'voters', cjson.encode(voters))
remember_decision()
happened(key, p, { event = 'approved', person = ask.person })
if not settles then
  changed(key, id, p)
  return answer('recorded', key)
end
redis.call('HSET', key, 'settledBy', ask.person)
move(key, id, p, 'approved', { 'approvedAt', now, 'startBefore', startBefore }, startBefore)
return answer('settled', key)
