-- ask: scope, epoch. Everything that the flip had to halt is halted; a later flip of the scope has its own halting.
local since = redis.call('HGET', HALTING, ask.scope)
if since and string.match(since, '^(%d+) ') == tostring(ask.epoch) then redis.call('HDEL', HALTING, ask.scope) end
return 'done'
