-- ask: after, entries, bytes. At least one where there is one, however large.
local LAST = '18446744073709551615-18446744073709551615'
local found, bytes, after = {}, 0, ask.after
while #found < ask.entries and bytes < ask.bytes and after ~= LAST do
  local page = redis.call('XRANGE', AUDIT, '(' .. after, '+', 'COUNT', math.min(50, ask.entries - #found))
  if #page == 0 then break end
  for _, item in ipairs(page) do
    if bytes >= ask.bytes then break end
    found[#found + 1], after = item, item[1]
    for _, text in ipairs(item[2]) do bytes = bytes + #text end
  end
end
return found
