-- ask: tenant, limit, leaseMs.
local cards = grant_cards_key(ask.tenant)
local broken = damage({ [cards] = 'zset' })
if broken then return broken end
local ids = redis.call('ZRANGEBYSCORE', cards, '-inf', now, 'LIMIT', 0, ask.limit)
for _, id in ipairs(ids) do
  redis.call('ZADD', cards, now + ask.leaseMs, id)
  if redis.call('EXISTS', grant_key(id)) == 1 then
    redis.call('HSET', grant_key(id), 'cardLease', now + ask.leaseMs)
  end
end
return ids
