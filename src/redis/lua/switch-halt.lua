-- KEYS: proposals. ask: ids (as KEYS), scope (its parts), key (the scope's), epoch, cause. Answers one word an id.
local words = {}
for i, id in ipairs(ask.ids) do
  local key = KEYS[OWN + i]
  local names = { 'status', 'epoch', 'tenant', 'environment', 'tool', 'agent', 'revision', 'idem' }
  local values, p = redis.call('HMGET', key, unpack(names)), {}
  for j, name in ipairs(names) do p[name] = values[j] or nil end
  local covered = true
  for part, value in pairs(ask.scope) do
    if p[part] ~= value then covered = false end
  end
  -- Sealed after this flip, when it was on again: not for this flip to halt. What has no readable epoch is halted.
  if (whole(p.epoch) or -1) >= ask.epoch then covered = false end
  words[i] = 'left'
  if covered and p.status == 'executing' then words[i] = 'executing' end
  if covered and (p.status == 'pending' or p.status == 'approved') then
    local broken = damage_around(p)
    if broken then return broken end
    halt(key, id, p, ask.cause)
    words[i] = 'halted'
  end
end
-- It goes on: nobody else has to begin with it yet.
local since = redis.pcall('HGET', HALTING, ask.key)
if type(since) == 'string' and string.match(since, '^(%d+) ') == tostring(ask.epoch) then
  redis.call('HSET', HALTING, ask.key, ask.epoch .. ' ' .. now)
end
return words
