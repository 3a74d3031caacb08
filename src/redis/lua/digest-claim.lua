-- ask: limit, leaseMs.
local broken = damage({ [DIGESTS] = 'zset' })
if broken then return broken end
local claimed = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', DIGESTS, '-inf', now, 'LIMIT', 0, ask.limit)) do
  local tenant, agent = string.match(member, '^([^:]+):([^:]+)$')
  if not tenant then
    redis.call('ZREM', DIGESTS, member)
  else
    local p = { tenant = tenant, agent = agent }
    redis.call('ZADD', DIGESTS, now + ask.leaseMs, member)
    redis.call('HSET', digest_key(p), 'lease', now + ask.leaseMs)
    local waiting = {}
    for _, tool in ipairs(folded_tools(p)) do
      local key = folded_key(p, tool)
      waiting[#waiting + 1] = { tool, tostring(redis.call('ZCARD', key)), redis.call('ZRANGE', key, 0, 0)[1] }
    end
    claimed[#claimed + 1] = { tenant, agent, redis.call('HGETALL', digest_key(p)), waiting }
  end
end
return claimed
