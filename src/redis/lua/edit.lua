-- KEYS: the old proposal, the new one. ask: what create.lua is asked about the new one, and from, fromDigest, by.
-- ARGV: ask, terms text, seal, detail of the creation's audit entry, detail of the edit's.
local old_key, key, from = KEYS[OWN + 1], KEYS[OWN + 2], ask.from
local old = fetch(old_key)
if not old then return answer('not_found') end
local broken = damage_around(old) or damage_around(ask)
if broken then return broken end
-- The same edit again: an answer that was lost on its way.
local same = fetch(key)
if same then return answer(same.digest == ask.digest and 'edited' or 'already_settled', key) end
if redis.call('ZSCORE', SPENT, ask.id) then return answer('already_settled') end

if old.digest ~= ask.fromDigest then return answer('terms_changed') end
-- The new call is the old one with other arguments, and nothing else.
for _, field in ipairs({ 'tenant', 'environment', 'tool', 'agent', 'principal' }) do
  if old[field] ~= ask[field] then return answer('terms_changed') end
end
if old.status == 'expired' and old.stage == 'deciding' then return answer('too_late') end
if old.status ~= 'pending' then return answer('already_settled') end
local deadline = whole(old.deadline)
if not deadline or now >= deadline then return answer('too_late') end
local scope = off_since(old)
if scope then
  halt(old_key, from, old, cause_of(scope))
  return answer('writes_off')
end
local epoch = armed_epoch(ask.seen)
if not epoch then return answer('writes_off') end
if halt_if_spent(old_key, from, old) then return answer('already_settled') end
if epoch ~= ask.epoch or math.abs(now - ask.createdAt) > 5000 then return answer('stale_terms') end

local p = {
  tenant = ask.tenant, agent = ask.agent, environment = ask.environment, tool = ask.tool, revision = '0', idem = '',
}
audit('proposal.edited', old.tenant, from, ARGV[5])
audit('proposal.created', ask.tenant, ask.id, ARGV[4])
halt(old_key, from, old, { kind = 'edited', by = ask.by, to = ask.id })
write_record(key, ask, ARGV[2], ARGV[3], '')
move(key, ask.id, p, 'pending', {}, ask.deadline)
return answer('edited', key)
