-- KEYS: proposal. ask: id, revision. ARGV: ask, where the card stands.
local key, id = KEYS[OWN + 1], ask.id
local broken = damage({})
if broken then return broken end
local p = fetch(key)
local revision = p and whole(p.revision)
if p then
  local shown = whole(p.cardRevision)
  if not p.card then audit('card.posted', p.tenant, id, ARGV[2]) end
  -- A publisher that was slow must not overwrite what a later one drew.
  if not p.card or (shown or -1) < ask.revision then
    redis.call('HSET', key, 'card', ARGV[2], 'cardRevision', ask.revision)
  end
end
redis.call('ZREM', LEASES, id)
redis.call('ZREM', CARDS, id)
if revision and revision > ask.revision then mark_card(id) end
return answer('settled')
