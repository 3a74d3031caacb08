-- KEYS: proposal. ask: id.
local key = KEYS[OWN + 1]
local p = fetch(key)
if not p then
  -- A record that is gone must not stay due for ever.
  for _, index in ipairs({ PENDING, READY, EXECUTING }) do redis.call('ZREM', index, ask.id) end
  return answer('lost_race')
end
local broken = damage_around(p)
if broken then return broken end
local stage, lapses
if p.status == 'pending' then stage, lapses = 'deciding', tonumber(p.deadline or '') end
if p.status == 'approved' then stage, lapses = 'starting', tonumber(p.startBefore or '') end
if not stage then return answer('lost_race') end
-- Half-open: at the deadline itself it is late. What has no readable deadline is late already.
if lapses and now < lapses then return answer('not_due') end
audit('proposal.expired', p.tenant, ask.id, { stage = stage })
move(key, ask.id, p, 'expired', { 'stage', stage, 'expiredAt', now })
return answer('settled')
