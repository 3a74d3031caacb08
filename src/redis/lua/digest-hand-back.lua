-- ask: tenant, agent, version, episode, drawn, againMs. ARGV: ask, where the card stands, or ''.
local key, member = digest_key(ask), ask.tenant .. ':' .. ask.agent
local broken = damage({ [DIGESTS] = 'zset', [key] = 'hash' })
if broken then return broken end
local said = redis.call('HMGET', key, 'version', 'episode', 'card')
local current = whole(said[1]) == ask.version and whole(said[2]) == ask.episode
if ask.drawn and whole(said[2]) == ask.episode then
  if not said[3] then audit('card.posted', ask.tenant, nil, ARGV[2]) end
  redis.call('HSET', key, 'card', ARGV[2])
end
redis.call('HDEL', key, 'lease')
if not (ask.drawn and current) then
  redis.call('ZADD', DIGESTS, now + ask.againMs, member)
  return answer('settled')
end
redis.call('ZREM', DIGESTS, member)
if #folded_tools(ask) == 0 then
  redis.call('HSET', key, 'open', '0')
  redis.call('PEXPIRE', key, RETENTION_MS)
else
  redis.call('PERSIST', key)
end
return answer('settled')
