-- KEYS: proposal. ask: id, admission. ARGV: ask, detail of the audit entry.
local key, id = KEYS[OWN + 1], ask.id
local p = fetch(key)
if not p or p.status ~= 'executing' or p.admission ~= ask.admission then return answer('lost_race') end
local broken = damage_around(p)
if broken then return broken end
audit('admission.returned', p.tenant, id, ARGV[2])
local scope = off_since(p)
if scope then
  halt(key, id, p, cause_of(scope))
else
  -- The time to start goes on running from the approval.
  move(key, id, p, 'approved', {}, whole(p.startBefore) or now)
end
return answer('settled')
