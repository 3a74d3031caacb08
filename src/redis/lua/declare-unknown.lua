-- KEYS: proposal. ask: id. ARGV: ask, the outcome, detail of the audit entry.
local key = KEYS[OWN + 1]
local p = fetch(key)
local broken = damage_around(p or {})
if broken then return broken end
if not p or p.status ~= 'executing' then
  unindex_but(p or {}, ask.id)
  return answer('lost_race')
end
local leaseUntil = whole(p.leaseUntil)
if leaseUntil and now < leaseUntil then return answer('not_due') end
audit('outcome.unknown', p.tenant, ask.id, ARGV[3])
move(key, ask.id, p, 'unknown', { 'outcome', ARGV[2], 'finishedAt', now })
return answer('settled')
