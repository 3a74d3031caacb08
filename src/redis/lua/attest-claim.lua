-- ask: limit, leaseMs. Whoever takes one and dies has only delayed its renewal.
local broken = damage({})
if broken then return broken end
local ids = redis.call('ZRANGEBYSCORE', ATTESTING, '-inf', now, 'LIMIT', 0, ask.limit)
for _, id in ipairs(ids) do redis.call('ZADD', ATTESTING, now + ask.leaseMs, id) end
return ids
