-- ask: tenant, agent, offset, limit.
local ids, count = {}, 0
for _, tool in ipairs(folded_tools(ask)) do
  local key = folded_key(ask, tool)
  local here = redis.call('ZCARD', key)
  local from = math.max(0, ask.offset - count)
  local room = ask.limit - #ids
  if room > 0 and from < here then
    for _, id in ipairs(redis.call('ZRANGE', key, from, from + room - 1)) do ids[#ids + 1] = id end
  end
  count = count + here
end
return { ids, tostring(count) }
