-- In shard 0. ask: fence (text), lifeMs: 0 gives the lease back.
if redis.call('HGET', SEALER, 'fence') ~= ask.fence then return { 'replaced' } end
redis.call('HSET', SEALER, 'until', now + ask.lifeMs)
return { 'renewed', now }
