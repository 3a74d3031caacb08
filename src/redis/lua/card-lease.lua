-- Loaded between the prelude and each of the scripts for what a publisher holds. ask: id, lane, tenant, lease.
local LATER, HELD = PREFIX .. 'card-later', PREFIX .. 'card-held'

local function damage_of_cards()
  local expected = { [LATER] = 'zset', [HELD] = 'zset' }
  for _, lane in ipairs(LANES) do expected[lane_key(lane, ask.tenant)] = 'zset' end
  return damage(expected)
end

local function holder() return ask.lane .. ':' .. ask.id end

-- Whoever was so slow that somebody else was given the card must not hand back what it no longer holds.
local function lease_stands() return redis.call('ZSCORE', LEASES, holder()) == ask.lease end

local function hand_back()
  redis.call('ZREM', LEASES, holder())
  wake_lane(ask.lane, ask.tenant)
end

local function unmark()
  redis.call('ZREM', lane_key(ask.lane, ask.tenant), ask.id)
  redis.call('ZREM', LATER, holder())
  hand_back()
end

-- One of the posts that were begun is accounted for: it is recorded, or Slack said that it was not carried out.
local function account_for_post(key, p)
  if p and (whole(p.cardTries) or 0) > 0 then redis.call('HINCRBY', key, 'cardTries', -1) end
end
