-- KEYS: proposal. ask: id, alarm, from. ARGV: ask, the halt cause, detail of the audit entries.
local key, id = KEYS[OWN + 1], ask.id
local p = fetch(key)
if not p then return answer('lost_race') end
local broken = damage_around(p)
if broken then return broken end
-- A record that is not genuine may claim any state. Only what may have started, or has ended, is left as it is.
local refusable = p.status == (ask.from or 'approved') or (ask.alarm and p.status ~= 'executing' and not TERMINAL[p.status or ''])
if not refusable then return answer('lost_race') end
if ask.alarm then audit('alarm.raised', p.tenant, id, ARGV[3]) end
audit('proposal.halted', p.tenant, id, ARGV[3])
move(key, id, p, 'halted', { 'haltedAt', now, 'cause', ARGV[2] })
return answer('settled')
