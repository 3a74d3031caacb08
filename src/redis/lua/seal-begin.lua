-- ask: fence (text). Answers with what the shard remembers, or the higher fence that it has seen.
local broken = damage({ [SEALED] = 'hash' })
if broken then return broken end
local standing = fence_of(redis.call('HGET', SEALED, 'fence'))
if standing > fence_of(ask.fence) then return { 'replaced', string.format('%.0f', standing) } end
redis.call('HSET', SEALED, 'fence', ask.fence)
return { 'begun', redis.call('HGETALL', SEALED) }
