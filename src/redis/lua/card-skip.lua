-- KEYS: proposal. ask: id, lane, tenant, lease, revision. Nobody needs a card of it, as it stands.
local key, id = KEYS[OWN + 1], ask.id
local broken = damage_of_cards()
if broken then return broken end
if not lease_stands() then return answer('lost') end
local p = fetch(key)
unmark()
if p then
  if (whole(p.cardRevision) or -1) < ask.revision then redis.call('HSET', key, 'cardRevision', ask.revision) end
  if (whole(p.revision) or 0) > ask.revision then mark_card(id) end
end
return answer('skipped')
