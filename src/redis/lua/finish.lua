-- KEYS: proposal. ask: id, admission, outcome. ARGV: ask, the outcome, detail of the audit entry.
local key, id = KEYS[OWN + 1], ask.id
local p = fetch(key)
if not p or p.admission ~= ask.admission then return answer('lost_race') end
local broken = damage_around(p)
if broken then return broken end
if p.status == 'unknown' and ask.outcome ~= 'unknown' and not p.late then
  -- What came after all: people read it in the audit, once. The outcome stays unknown, as everybody was told.
  audit('outcome.late', p.tenant, id, ARGV[3])
  redis.call('HSET', key, 'late', '1')
end
if p.status ~= 'executing' then return answer('lost_race') end
audit('outcome.' .. ask.outcome, p.tenant, id, ARGV[3])
move(key, id, p, ask.outcome, { 'outcome', ARGV[2], 'finishedAt', now })
return answer('settled')
