-- KEYS: notices, when they are due. ask: scope, expected, epoch, lifeMs, tenant, flip.
-- ARGV: ask, who, why, since, detail of the audit entry, the notice for the channels.
local notices, due = KEYS[OWN + 1], KEYS[OWN + 2]
local broken = damage({ [notices] = 'hash', [due] = 'zset' })
if broken then return broken end
local current = epoch_now()
if current > ask.expected then return { 'epoch_moved', tostring(current), now } end
audit('switch.on', ask.tenant, nil, ARGV[5])
if redis.call('TYPE', SWITCH).ok ~= 'hash' then redis.call('DEL', SWITCH) end
redis.call('HDEL', SWITCH, 'off:' .. ask.scope)
redis.call('HSET', SWITCH, 'epoch', ask.epoch)
if ask.scope == '*' then
  redis.call('HSET', SWITCH, 'state', 'on', 'by', ARGV[2], 'why', ARGV[3], 'since', ARGV[4])
  redis.call('SET', ARMED, ask.epoch, 'PX', ask.lifeMs)
else
  redis.call('SET', ARMED, ask.epoch, 'XX', 'KEEPTTL')
end
redis.call('HSET', notices, ask.flip, ARGV[6])
redis.call('ZADD', due, now, ask.flip)
return { 'on', tostring(ask.epoch), now }
