-- ask: seen. KEYS: the sorted sets of what is pending, approved and executing (of one tenant, or of all).
local _, why = armed_epoch(ask.seen)
local fields = redis.pcall('HGETALL', SWITCH)
if type(fields) ~= 'table' or fields.err then fields = {} end
local counts = {}
for i = 1, 3 do
  local count = redis.pcall('ZCARD', KEYS[OWN + i])
  counts[i] = type(count) == 'number' and count or 0
end
return { now, tostring(epoch_now()), why or '', fields, counts }
