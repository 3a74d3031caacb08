-- KEYS: notices, when they are due. ask: limit, leaseMs. Answers ids and texts in turn.
local notices, due = KEYS[OWN + 1], KEYS[OWN + 2]
local broken = damage({ [notices] = 'hash', [due] = 'zset' })
if broken then return broken end
local claimed = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, ask.limit)) do
  local text = redis.call('HGET', notices, id)
  if text then
    redis.call('ZADD', due, now + ask.leaseMs, id)
    claimed[#claimed + 1] = id
    claimed[#claimed + 1] = text
  else
    redis.call('ZREM', due, id)
  end
end
return claimed
