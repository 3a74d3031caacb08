-- KEYS: proposal. ask: id, digest, againMs. ARGV: ask, the attestation. Changes no state: no entry, no news.
local key, id = KEYS[OWN + 1], ask.id
local p = fetch(key)
local broken = damage_around(p or {})
if broken then return broken end
if not p or p.status ~= 'approved' or p.digest ~= ask.digest then
  if not p or p.status ~= 'approved' then redis.call('ZREM', ATTESTING, id) end
  return answer('lost_race')
end
redis.call('HSET', key, 'attestation', ARGV[2])
redis.call('ZADD', ATTESTING, now + ask.againMs, id)
return answer('settled')
