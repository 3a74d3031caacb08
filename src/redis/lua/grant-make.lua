-- KEYS: the proposal that it is given with, the index of the tenant's grants, the index of the caller's and tool's.
-- ask: id, digest, epoch, maxUses, expires, tenant, environment, agent, tool, person, proposal, termsDigest, mostOpen.
-- ARGV: ask, the signed grant, detail of the audit entry.
local tenants, calls = KEYS[OWN + 2], KEYS[OWN + 3]
local id, key = ask.id, grant_key(ask.id)
local broken = grant_damage(id, ask.tenant) or damage({ [KEYS[OWN + 1]] = 'hash', [tenants] = 'zset', [calls] = 'zset' })
if broken then return broken end
-- The same form again, or another one for the same proposal: what was given first is what stands.
if fetch(key) then return 'again' end

local p = fetch(KEYS[OWN + 1])
local carried_out = p and (p.status == 'approved' or p.status == 'executing' or p.status == 'succeeded'
  or p.status == 'failed' or p.status == 'unknown')
if not carried_out or p.digest ~= ask.termsDigest or p['voted:' .. ask.person] ~= 'approve' then
  return 'not_approved'
end
if now >= ask.expires then return 'too_late' end
if not armed_epoch(ask.seen) or off_since({
  tenant = ask.tenant, environment = ask.environment, tool = ask.tool, agent = ask.agent,
  epoch = string.format('%d', ask.epoch),
}) then
  return 'writes_off'
end
redis.call('ZREMRANGEBYSCORE', tenants, '-inf', now - GRANTS_KEPT_MS)
if redis.call('ZCOUNT', tenants, '(' .. now, '+inf') >= ask.mostOpen then return 'too_many' end

audit('grant.made', ask.tenant, ask.proposal, ARGV[3])
redis.call('HSET', key, 'id', id, 'grant', ARGV[2], 'digest', ask.digest, 'state', 'open', 'uses', 0, 'revision', 0,
  'tenant', ask.tenant, 'proposal', ask.proposal)
redis.call('PEXPIREAT', key, ask.expires + GRANTS_KEPT_MS)
redis.call('ZADD', tenants, ask.expires, id)
redis.call('ZREMRANGEBYSCORE', calls, '-inf', now)
redis.call('ZADD', calls, ask.expires, id)
redis.call('PEXPIREAT', calls, math.max(ask.expires, redis.call('PTTL', calls) + now))
grant_changed(id, fetch(key))
return 'new'
