-- ask: id, tenant, revision, uses, expires. ARGV: ask, where the card stands; or delayMs alone, to postpone it (or, where
-- that is false, never to draw it).
local id, cards = ask.id, grant_cards_key(ask.tenant)
local broken = grant_damage(id, ask.tenant)
if broken then return broken end
local g = fetch(grant_key(id))
if not g then
  redis.call('ZREM', cards, id)
  return 'gone'
end
redis.call('HDEL', grant_key(id), 'cardLease')
if not ask.revision then
  if ask.delayMs then redis.call('ZADD', cards, now + ask.delayMs, id) else redis.call('ZREM', cards, id) end
  return 'postponed'
end
redis.call('HSET', grant_key(id), 'card', ARGV[2], 'cardUses', ask.uses)
if (whole(g.revision) or 0) > ask.revision then
  redis.call('ZADD', cards, now, id)
elseif g.state == 'open' and now < ask.expires then
  -- Once more when its time is over: the card then says so.
  redis.call('ZADD', cards, ask.expires, id)
else
  redis.call('ZREM', cards, id)
end
return 'drawn'
