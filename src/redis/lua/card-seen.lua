-- KEYS: proposal. ask: id. ARGV: ask, where somebody clicked. Only where a message of ours may be that is not recorded.
local key, id = KEYS[OWN + 1], ask.id
local p = fetch(key)
if not p then return answer('unknown') end
local broken = damage_around(p)
if broken then return broken end
if p.card == ARGV[2] then return answer('live') end
if (whole(p.cardTries) or 0) == 0 then return answer('unknown') end
if p.card then return answer('copy') end
audit('card.posted', p.tenant, id, ARGV[2])
redis.call('HINCRBY', key, 'cardTries', -1)
redis.call('HDEL', key, 'cardRevision')
redis.call('HSET', key, 'card', ARGV[2])
-- From now on it is a card to be updated, and none to be posted.
redis.call('ZREM', lane_key('post', p.tenant), id)
mark_card(id)
return answer('live')
