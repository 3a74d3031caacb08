-- Standing grants: after the prelude in every script. What was signed comes in from outside (`grant`: id, digest, epoch,
-- maxUses, expires), so that whoever changes the hash here widens nothing; the hash says what has happened since.
local GRANTS_KEPT_MS = RETENTION_MS

local function grant_key(id) return PREFIX .. 'grant:' .. id end
local function grant_uses_key(id) return PREFIX .. 'grant-uses:' .. id end
local function grant_cards_key(tenant) return PREFIX .. 'tenant:' .. tenant .. ':grant-cards' end

local function grant_damage(id, tenant)
  return damage({
    [grant_key(id)] = 'hash', [grant_uses_key(id)] = 'zset', [grant_cards_key(tenant)] = 'zset',
  })
end

-- Its card is behind. While a publisher holds it, it stays held, as with the cards of proposals.
local function grant_changed(id, g)
  redis.call('HSET', grant_key(id), 'revision', (whole(g.revision) or 0) + 1)
  local lease = whole(g.cardLease)
  if not lease or lease <= now then redis.call('ZADD', grant_cards_key(g.tenant or '-'), 'LT', now, id) end
  redis.call('PUBLISH', PREFIX .. 'cards:news', id)
end

local function grant_ended(id, g, state, detail)
  audit('grant.' .. state, g.tenant, g.proposal, detail)
  redis.call('HSET', grant_key(id), 'state', state, 'endedAt', now, 'endedBy', detail.by or detail.why)
  grant_changed(id, g)
end

-- The stored grant and how often it was used; or nil and why it covers nothing. Off voids it for good, which is found
-- and written here at the latest: the epoch compared is the one that was signed.
local function grant_standing(grant, call)
  local g = fetch(grant_key(grant.id))
  if not g or g.digest ~= grant.digest then return nil, 'grant_missing' end
  if g.state ~= 'open' then return nil, 'grant_void' end
  if now >= grant.expires then return nil, 'grant_expired' end
  local scope = off_since({
    tenant = call.tenant, environment = call.environment, tool = call.tool, agent = call.agent,
    epoch = string.format('%d', grant.epoch),
  })
  if scope then
    local cause = cause_of(scope)
    grant_ended(grant.id, g, 'voided', { grant = grant.id, why = 'switch', scope = scope, off_by = cause.by })
    return nil, 'grant_void'
  end
  -- Two that must agree: a set of uses that was deleted, or lost one, is missing and not shorter.
  local said = whole(g.uses)
  local counted = redis.call('ZCARD', grant_uses_key(grant.id))
  if not said or said ~= counted then return nil, 'grant_missing' end
  return g, counted
end
