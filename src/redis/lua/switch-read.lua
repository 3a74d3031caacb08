-- ask: tenant, environment, tool, agent, seen.
local scope, entry = off_now(ask)
local epoch, why = armed_epoch(ask.seen)
return { now, tostring(epoch or epoch_now()), scope or '', entry or '', why or '' }
