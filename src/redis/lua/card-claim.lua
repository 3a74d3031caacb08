-- ask: limit, leaseMs. Answers the ms until something else is due, and then flat: id, lane, tenant, lease.
local LATER, HELD = PREFIX .. 'card-later', PREFIX .. 'card-held'
local broken = damage({ [LATER] = 'zset', [HELD] = 'zset' })
if broken then return broken end
redis.call('ZREMRANGEBYSCORE', LEASES, '-inf', now)
redis.call('ZREMRANGEBYSCORE', LATER, '-inf', now)
redis.call('ZREMRANGEBYSCORE', HELD, '-inf', now)

local KNOWN = { post = true, update = true, thread = true }
local claimed, count = {}, 0

-- What is free in a lane, up to `most`; and when the first of what is not free will be.
local function take(lane, tenant, most)
  local soonest, taken, marks = nil, 0, 0
  -- In order, and one at a time: the next post leaves when the one before it has.
  local serial = lane ~= 'update'
  for _, id in ipairs(redis.call('ZRANGE', lane_key(lane, tenant), 0, 499)) do
    marks = marks + 1
    local member = lane .. ':' .. id
    local lease = tonumber(redis.call('ZSCORE', LEASES, member) or '')
    local later = lease or tonumber(redis.call('ZSCORE', LATER, member) or '')
    if later then
      soonest = math.min(soonest or later, later)
      if lease and serial then break end
    else
      redis.call('ZADD', LEASES, now + ask.leaseMs, member)
      claimed[#claimed + 1], claimed[#claimed + 2] = id, lane
      claimed[#claimed + 1], claimed[#claimed + 2] = tenant, redis.call('ZSCORE', LEASES, member)
      taken = taken + 1
      if serial then soonest = now + ask.leaseMs end
      if serial or taken >= most then break end
    end
  end
  return taken, marks, soonest
end

-- Whoever was served goes to the back, so that a tenant with a flood does not starve the others.
for _, member in ipairs(redis.call('ZRANGEBYSCORE', CARDS, '-inf', now, 'LIMIT', 0, 256)) do
  if count >= ask.limit then break end
  local lane, tenant = string.match(member, '^(%l+):(.+)$')
  local key = lane and KNOWN[lane] and lane_key(lane, tenant)
  local held = tonumber(redis.call('ZSCORE', HELD, member) or '')
  if not key or redis.call('TYPE', key).ok ~= 'zset' then
    redis.call('ZREM', CARDS, member)
  elseif held then
    redis.call('ZADD', CARDS, held, member)
  else
    -- No tenant may take every hand that a publisher has.
    local taken, marks, soonest = take(lane, tenant, math.min(2, ask.limit - count))
    count = count + taken
    if marks == 0 then redis.call('ZREM', CARDS, member)
    else redis.call('ZADD', CARDS, math.max(now, soonest or now), member) end
  end
end

local first = redis.call('ZRANGE', CARDS, 0, 0, 'WITHSCORES')
local wait = first[2] and math.max(0, math.ceil(tonumber(first[2]) - now)) or -1
return { wait, unpack(claimed) }
