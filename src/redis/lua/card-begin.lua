-- KEYS: proposal. ask: id, lane, tenant, lease. ARGV: ask, what the thread will have been told or ''.
-- Written before Slack is asked: whatever happens then, it is known that a message may be there.
local key = KEYS[OWN + 1]
local broken = damage_of_cards()
if broken then return broken end
if not lease_stands() or redis.call('EXISTS', key) == 0 then return answer('lost') end
if ARGV[2] ~= '' then
  redis.call('HSET', key, 'told', ARGV[2])
else
  redis.call('HINCRBY', key, 'cardTries', 1)
end
return answer('begun')
