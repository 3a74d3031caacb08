-- KEYS: notices, when they are due. ask: id, delayMs where the same one is put back, ids of those that take its place.
-- ARGV: ask, the texts of those.
local notices, due = KEYS[OWN + 1], KEYS[OWN + 2]
local broken = damage({ [notices] = 'hash', [due] = 'zset' })
if broken then return broken end
-- Whoever was slower than the lease finds that another one has handed it back.
if redis.call('HDEL', notices, ask.id) == 0 then return 'gone' end
redis.call('ZREM', due, ask.id)
for i, id in ipairs(ask.ids) do
  redis.call('HSET', notices, id, ARGV[1 + i])
  redis.call('ZADD', due, now + (ask.delayMs or 0), id)
end
return 'handed back'
