-- ask: limit, leaseMs. A flat list of (id, how often it was claimed).
local key = PREFIX .. 'previews'
local broken = damage({})
if broken then return broken end
local claimed = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, ask.limit)) do
  local proposal = proposal_key(id)
  local kind = redis.call('TYPE', proposal).ok
  local status = kind == 'hash' and redis.call('HGET', proposal, 'status')
  if status == 'pending' and redis.call('HEXISTS', proposal, 'preview') == 0 then
    local claims = (whole(redis.call('HGET', proposal, 'previewClaims') or '0') or 0) + 1
    redis.call('HSET', proposal, 'previewClaims', claims)
    redis.call('ZADD', key, now + ask.leaseMs, id)
    claimed[#claimed + 1] = id
    claimed[#claimed + 1] = tostring(claims)
  else
    redis.call('ZREM', key, id)
  end
end
return claimed
