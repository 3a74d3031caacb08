-- ask: limit, leaseMs.
local broken = damage({})
if broken then return broken end
local ids = redis.call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, ask.limit)
if #ids < ask.limit then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', CARDS, '-inf', now, 'LIMIT', 0, ask.limit - #ids)) do
    ids[#ids + 1] = id
  end
end
for _, id in ipairs(ids) do
  redis.call('ZREM', CARDS, id)
  redis.call('ZADD', LEASES, now + ask.leaseMs, id)
end
return ids
