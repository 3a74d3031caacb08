-- KEYS: proposal. ask: id, agent, principal. ARGV: ask, detail of the audit entry.
local key = KEYS[OWN + 1]
local p = fetch(key)
if not p then return answer('lost_race') end
local broken = damage_around(p)
if broken then return broken end
-- Another agent's proposal is nothing that this caller could withdraw.
if p.agent ~= ask.agent or p.principal ~= ask.principal then return answer('not_due') end
if p.status ~= 'pending' then return answer('lost_race') end
audit('proposal.withdrawn', p.tenant, ask.id, ARGV[2])
move(key, ask.id, p, 'withdrawn', { 'withdrawnAt', now })
return answer('settled')
