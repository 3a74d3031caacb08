-- KEYS: proposal. ask: id. ARGV: ask, detail of the audit entry.
local broken = damage({})
if broken then return broken end
local p = fetch(KEYS[OWN + 1])
audit('card.abandoned', p and p.tenant, ask.id, ARGV[2])
redis.call('ZREM', LEASES, ask.id)
redis.call('ZREM', CARDS, ask.id)
return answer('settled')
