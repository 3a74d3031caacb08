-- KEYS: proposal. ask: id, lane, tenant, lease. ARGV: ask, detail of the audit entry.
local broken = damage_of_cards()
if broken then return broken end
if not lease_stands() then return answer('lost') end
local key = KEYS[OWN + 1]
local p = fetch(key)
audit('card.abandoned', p and p.tenant, ask.id, ARGV[2])
unmark()
-- Given up as it stands: the next change is tried again, and no repair before.
if p then redis.call('HSET', key, 'cardRevision', whole(p.revision) or 0) end
return answer('abandoned')
