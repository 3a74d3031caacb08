-- ask: limit. Four flat lists of (id, time).
local function upTo(index, from, to)
  return redis.call('ZRANGEBYSCORE', index, from, to, 'WITHSCORES', 'LIMIT', 0, ask.limit)
end
local late = upTo(PENDING, '-inf', now)
for _, value in ipairs(upTo(READY, '-inf', now)) do late[#late + 1] = value end
return { upTo(READY, '(' .. now, '+inf'), late, upTo(EXECUTING, '-inf', now), upTo(TIMERS, '-inf', now) }
