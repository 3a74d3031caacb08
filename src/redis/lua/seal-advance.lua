-- ask: fence (text), through, entries. ARGV: ask, then chain and what is sealed of it, in turn.
if redis.call('HGET', SEALED, 'fence') ~= ask.fence then return { 'replaced' } end
local kept = (whole(redis.call('HGET', SEALED, 'kept')) or 0) + ask.entries
redis.call('HSET', SEALED, 'through', ask.through, 'kept', math.min(kept, redis.call('XLEN', AUDIT)))
for i = 2, #ARGV, 2 do redis.call('HSET', SEALED, 'chain:' .. ARGV[i], ARGV[i + 1]) end
return { 'advanced', audit_backlog() }
