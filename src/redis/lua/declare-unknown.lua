-- KEYS: proposal. ask: id. ARGV: ask, the outcome, detail of the audit entry.
local key = KEYS[OWN + 1]
local p = fetch(key)
if not p or p.status ~= 'executing' then return answer('lost_race') end
local broken = damage_around(p)
if broken then return broken end
local leaseUntil = tonumber(p.leaseUntil or '')
if leaseUntil and now < leaseUntil then return answer('not_due') end
audit('outcome.unknown', p.tenant, ask.id, ARGV[3])
move(key, ask.id, p, 'unknown', { 'outcome', ARGV[2], 'finishedAt', now })
return answer('settled')
