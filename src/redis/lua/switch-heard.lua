-- KEYS: commands that were heard. ask: command, forMs. 1 for the first who asks.
local heard = KEYS[OWN + 1]
local broken = damage({ [heard] = 'zset' })
if broken then return broken end
redis.call('ZREMRANGEBYSCORE', heard, '-inf', now - ask.forMs)
return redis.call('ZADD', heard, 'NX', now, ask.command)
