-- ask: index, from, count. Marks what has no card, and whose card is behind; answers how many of the index it read.
local index = PREFIX .. ask.index
local broken = damage({})
if broken then return broken end
local ids, woken = redis.call('ZRANGE', index, ask.from, ask.from + ask.count - 1), {}
for _, id in ipairs(ids) do
  local key = proposal_key(id)
  if redis.call('TYPE', key).ok == 'hash' then
    local p = redis.call('HMGET', key, 'tenant', 'card', 'cardRevision', 'revision', 'createdAt')
    local tenant, card = p[1] or '-', p[2]
    local intact = not damage_around({ tenant = tenant })
    local behind = (whole(p[3]) or -1) < (whole(p[4]) or 0)
    -- What is settled and was never shown needs no card now.
    if intact and behind and (card or ask.index ~= 'spent') then
      mark_lane(card and 'update' or 'post', tenant, id, (whole(p[5]) or now) * 1000)
    end
    if intact and not woken[tenant] then
      woken[tenant] = true
      for _, lane in ipairs(LANES) do
        if redis.call('EXISTS', lane_key(lane, tenant)) == 1 then wake_lane(lane, tenant) end
      end
    end
  end
end
return #ids
