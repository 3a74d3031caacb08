-- KEYS: proposal. ask: id, person, why. ARGV: ask, detail of the audit entry.
local key, id = KEYS[OWN + 1], ask.id
local p = fetch(key)
if not p then return answer('lost_race') end
local broken = damage_around(p)
if broken then return broken end
if p.status ~= 'pending' then return answer('lost_race') end
local listed, voters = pcall(cjson.decode, p.voters or '[]')
if not listed or type(voters) ~= 'table' then
  return redis.error_reply('STORE_DAMAGED ' .. key .. ' lacks its voters')
end
local remaining, found = {}, false
for _, person in ipairs(voters) do
  if person == ask.person then found = true else remaining[#remaining + 1] = person end
end
if not found then return answer('lost_race') end
audit('decision.revoked', p.tenant, id, ARGV[2])
-- The vote goes with it: who is entitled again may decide again.
redis.call('HDEL', key, 'vote:' .. ask.person, 'voted:' .. ask.person)
redis.call('HSET', key, 'voters', #remaining > 0 and cjson.encode(remaining) or '[]')
happened(key, p, { event = 'revoked', person = ask.person, why = ask.why })
changed(key, id, p)
return answer('settled')
