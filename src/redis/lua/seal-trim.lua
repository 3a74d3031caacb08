-- ask: fence (text), before. The same fence as that of the advance: nobody has moved what is sealed back meanwhile.
if redis.call('HGET', SEALED, 'fence') ~= ask.fence then return { 'replaced' } end
local removed = redis.call('XTRIM', AUDIT, 'MINID', ask.before)
redis.call('HSET', SEALED, 'kept', math.max(0, (whole(redis.call('HGET', SEALED, 'kept')) or 0) - removed))
return { 'trimmed', removed }
