-- KEYS: proposal. ask: id.
local key, id = KEYS[OWN + 1], ask.id
local p = fetch(key)
local broken = damage_around(p or {})
if broken then return broken end
local deadline = p and whole(p.deadline)
-- At its deadline it is only left to expire.
if not p or p.status ~= 'pending' or not deadline or now >= deadline then
  redis.call('ZREM', TIMERS, id)
  return answer('lost_race')
end
local listed, voters = pcall(cjson.decode, p.voters or '[]')
local approvals = listed and type(voters) == 'table' and #voters or 0
local fired = false
for _, timer in ipairs({ { 'reminded', 'remindAt' }, { 'escalated', 'escalateAt' } }) do
  local event, due = timer[1], whole(p[timer[2]])
  if due and due <= now and not p[event .. 'At'] then
    audit('timer.' .. event, p.tenant, id, { due = due, approvals = approvals, quorum = whole(p.quorum) or 0 })
    p[event .. 'At'] = tostring(now)
    redis.call('HSET', key, event .. 'At', now)
    happened(key, p, { event = event })
    fired = true
  end
end
schedule_timers(key, id)
if not fired then return answer('not_due') end
changed(key, id, p)
return answer('settled')
