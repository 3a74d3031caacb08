-- KEYS: pace. ask: everyMs, burst, pauseMs. Answers the ms to wait; 0: the turn is taken.
-- The key holds the time from which on a whole burst is due again; it lapses when it has no more to say. What else lies
-- in its shard is not looked at, because tenants of every shard have their paces here.
local key = KEYS[OWN + 1]
local HOUR_MS = 60 * 60 * 1000
local full = math.min(now + HOUR_MS, math.max(now, whole(redis.pcall('GET', key)) or now))
local room = (ask.burst - 1) * ask.everyMs
if ask.pauseMs then
  full = math.max(full, now + math.min(ask.pauseMs, HOUR_MS) + room)
  redis.call('SET', key, full, 'PX', full - now + 1)
  return ask.pauseMs
end
local wait = full - room - now
if wait > 0 then return wait end
redis.call('SET', key, full + ask.everyMs, 'PX', full + ask.everyMs - now)
return 0
