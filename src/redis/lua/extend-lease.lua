-- KEYS: proposal. ask: id, admission, leaseMs. Changes no state: no entry, no news.
local key = KEYS[OWN + 1]
local p = fetch(key)
if not p or p.status ~= 'executing' or p.admission ~= ask.admission then return answer('lost_race') end
local broken = damage_around(p)
if broken then return broken end
local leaseUntil = now + ask.leaseMs
redis.call('HSET', key, 'leaseUntil', leaseUntil)
for _, index in ipairs(indexes('executing', p)) do redis.call('ZADD', index, leaseUntil, ask.id) end
return answer('settled')
