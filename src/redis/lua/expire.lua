-- KEYS: proposal. ask: id.
local key = KEYS[OWN + 1]
local p = fetch(key)
local broken = damage_around(p or {})
if broken then return broken end
p = p or {}
local stage, lapses
if p.status == 'pending' then stage, lapses = 'deciding', whole(p.deadline) end
if p.status == 'approved' then stage, lapses = 'starting', whole(p.startBefore) end
if not stage then
  unindex_but(p, ask.id)
  return answer('lost_race')
end
-- Half-open: at the deadline itself it is late. What has no readable deadline is late already.
if lapses and now < lapses then return answer('not_due') end
audit('proposal.expired', p.tenant, ask.id, { stage = stage })
move(key, ask.id, p, 'expired', { 'stage', stage, 'expiredAt', now })
return answer('settled')
