-- In shard 0. ask: above (text), lifeMs.
local standing = redis.call('HMGET', SEALER, 'fence', 'until')
local held = whole(standing[2]) or 0
-- A lease that lasts longer than any that we give is none of ours: it must not end sealing for ever.
if held > now and held <= now + ask.lifeMs then return { 'held' } end
local fence = string.format('%.0f', math.max(micros, fence_of(standing[1]) + 1, fence_of(ask.above) + 1))
redis.call('HSET', SEALER, 'fence', fence, 'until', now + ask.lifeMs)
return { 'claimed', fence, now }
