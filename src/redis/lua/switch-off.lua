-- KEYS: notices, when they are due. ask: scope, epoch, flip, retry, tenant, remindAt.
-- ARGV: ask, the entry, who, why, since, detail of the audit entry, the notice for the channels, the reminder for them.
-- The one script that writes first and records then: stopping must work also where recording does not. What cannot be
-- recorded fails after that, so that the operator is not told that all is well.
if redis.call('TYPE', SWITCH).ok ~= 'hash' then redis.call('DEL', SWITCH) end
if redis.call('TYPE', HALTING).ok ~= 'hash' then redis.call('DEL', HALTING) end
local notices, due = KEYS[OWN + 1], KEYS[OWN + 2]
local scope = ask.scope

local again = redis.call('HGET', SWITCH, 'flip:' .. scope) == ask.flip
if again and not redis.call('HGET', SWITCH, 'off:' .. scope) then return { 'superseded', tostring(epoch_now()), now } end

-- Another flip of this scope came after: it is off, and at an epoch that kills what ours had to kill. Flipping again
-- would make the two take turns for as long as some other shard is away.
local last = tonumber(redis.call('HGET', SWITCH, 'last:' .. scope) or '')
if not again and ask.retry and last and last >= ask.epoch and redis.call('HGET', SWITCH, 'off:' .. scope) then
  redis.call('HSET', SWITCH, 'last:' .. scope, last)
  return { 'off', tostring(last), now }
end

local epoch
if again then
  epoch = last or epoch_now()
  -- A write, so that there is something for WAIT to wait for.
  redis.call('HSET', SWITCH, 'flip:' .. scope, ask.flip)
else
  -- Always above what was, also where another flip came between: terms sealed at any earlier epoch are dead for good.
  epoch = math.max(epoch_now() + 1, ask.epoch)
  redis.call('HSET', SWITCH, 'epoch', epoch, 'off:' .. scope, ARGV[2], 'why:' .. scope, ARGV[2],
    'last:' .. scope, epoch, 'flip:' .. scope, ask.flip)
  redis.call('HSET', HALTING, scope, epoch .. ' ' .. now)
  if scope == '*' then
    redis.call('HSET', SWITCH, 'state', 'off', 'by', ARGV[3], 'why', ARGV[4], 'since', ARGV[5])
    redis.call('DEL', ARMED)
  else
    redis.call('SET', ARMED, epoch, 'XX', 'KEEPTTL')
  end
  -- Somebody else's values under these keys keep nobody from being told.
  if redis.call('TYPE', notices).ok ~= 'hash' then redis.call('DEL', notices) end
  if redis.call('TYPE', due).ok ~= 'zset' then redis.call('DEL', due) end
  redis.call('HSET', notices, ask.flip, ARGV[7])
  redis.call('ZADD', due, now, ask.flip)
  if ask.remindAt then
    redis.call('HSET', notices, ask.flip .. ':reminder', ARGV[8])
    redis.call('ZADD', due, ask.remindAt, ask.flip .. ':reminder')
  end
end
if redis.call('HGET', SWITCH, 'audited:' .. scope) ~= ask.flip then
  local broken = damage({})
  if broken then return broken end
  audit('switch.off', ask.tenant, nil, ARGV[6])
  redis.call('HSET', SWITCH, 'audited:' .. scope, ask.flip)
end
return { 'off', tostring(epoch), now }
