-- KEYS: proposal. ask: id, and either drop, or digest. ARGV: ask, the sealed preview, detail of the audit entry.
local key, id = KEYS[OWN + 1], ask.id
local broken = damage({})
if broken then return broken end
if ask.drop then
  redis.call('ZREM', PREFIX .. 'previews', id)
  return answer('settled')
end
local p = fetch(key)
-- Once is enough, and what was settled needs none: what it shows is what people decided on.
if not p or p.status ~= 'pending' or p.digest ~= ask.digest or p.preview then return answer('lost_race') end
audit('preview.kept', p.tenant, id, ARGV[3])
redis.call('HSET', key, 'preview', ARGV[2])
redis.call('ZREM', PREFIX .. 'previews', id)
changed(key, id, p)
return answer('settled')
