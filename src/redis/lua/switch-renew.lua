-- ask: seen, lifeMs, haltGraceMs. Renews only what people left on; answers also which flips never finished halting.
local left = {}
local halting = redis.pcall('HGETALL', HALTING)
if type(halting) == 'table' and not halting.err then
  for i = 1, #halting, 2 do
    local epoch, at = string.match(halting[i + 1], '^(%d+) (%d+)$')
    if epoch and now - tonumber(at) > ask.haltGraceMs then
      left[#left + 1] = halting[i]
      left[#left + 1] = epoch
      left[#left + 1] = cjson.encode(cause_of(halting[i]))
    end
  end
end
local switch = redis.pcall('HMGET', SWITCH, 'state', 'epoch')
if type(switch) ~= 'table' or switch.err then return { 'unreadable', left, '0' } end
local state, epoch = switch[1], switch[2]
if not epoch or not string.match(epoch, '^%d+$') or #epoch > 15 then epoch = '0' end
-- Redis was emptied, or an older copy of it took over: what it says of the switch is not what people left.
if tonumber(epoch) < ask.seen then return { 'forgotten', left, epoch } end
if state ~= 'on' then return { 'off', left, epoch } end
if tonumber(epoch) == 0 then return { 'unreadable', left, epoch } end
redis.call('SET', ARMED, epoch, 'PX', ask.lifeMs)
return { 'renewed', left, epoch }
