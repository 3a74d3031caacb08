-- ask: id, delayMs.
local broken = damage({})
if broken then return broken end
redis.call('ZREM', LEASES, ask.id)
redis.call('ZADD', CARDS, now + ask.delayMs, ask.id)
return answer('settled')
