-- KEYS: proposal. ask: id. ARGV: ask, where its card was. Somebody deleted the message: it is posted anew.
local key, id = KEYS[OWN + 1], ask.id
local p = fetch(key)
if not p then return answer('unknown') end
local broken = damage_around(p)
if broken then return broken end
if p.card ~= ARGV[2] or p.status ~= 'pending' then return answer('unknown') end
redis.call('HDEL', key, 'card', 'cardRevision')
redis.call('ZREM', lane_key('update', p.tenant), id)
-- Where it had stood in the queue.
mark_lane('post', p.tenant, id, (whole(p.createdAt) or now) * 1000)
return answer('marked')
