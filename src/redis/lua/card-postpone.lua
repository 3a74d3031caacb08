-- KEYS: proposal. ask: id, lane, tenant, lease, delayMs, all, unsent. ARGV: ask, what the thread had been told or ''.
local key = KEYS[OWN + 1]
local broken = damage_of_cards()
if broken then return broken end
local p = fetch(key)
if ask.unsent then
  if ask.lane ~= 'thread' then account_for_post(key, p)
  elseif p and ARGV[2] ~= '' and lease_stands() then redis.call('HSET', key, 'told', ARGV[2]) end
end
if not lease_stands() then return answer('lost') end
-- Its place it keeps either way: what waits for its turn is not overtaken.
if ask.delayMs > 0 then
  if ask.all then redis.call('ZADD', HELD, now + ask.delayMs, ask.lane .. ':' .. ask.tenant)
  else redis.call('ZADD', LATER, now + ask.delayMs, holder()) end
end
hand_back()
return answer('postponed')
