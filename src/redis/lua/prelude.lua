-- Shared by every script. KEYS: those of the shard, in the order of keys.ts, then the script's own.
-- Each script validates everything before its first write, because an error later would leave the step half done;
-- and writes its audit entries before it writes the state, because what cannot be recorded must not happen.
local SWITCH, ARMED, PENDING, READY, EXECUTING, CARDS, LEASES, AUDIT, SEQ, BUDGETS, HALTING, SPENT =
  unpack(KEYS, 1, 12)
-- After the one that never holds anything (keys.ts).
local OWN = 13
local PREFIX = string.sub(SWITCH, 1, -7)
-- Pending proposals by their next reminder or escalation, and approved ones by the next renewal of their attestation.
local TIMERS, ATTESTING = PREFIX .. 'timers', PREFIX .. 'attesting'
-- How far the audit is sealed; and, in shard 0, who seals it.
local SEALED, SEALER = PREFIX .. 'audit-sealed', PREFIX .. 'audit-sealer'
local ask = cjson.decode(ARGV[1])

-- The one clock for deadlines, in milliseconds.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- Two scripts never begin in the same microsecond: the order of marks is the order of what happened.
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])

local RETENTION_MS = 168 * 60 * 60 * 1000
local TERMINAL = {
  succeeded = true, failed = true, unknown = true, denied = true, expired = true, withdrawn = true, halted = true,
}

-- Longer than any terms can be decided and started for: a day, and an hour.
local SPENT_MS = 48 * 60 * 60 * 1000

local function proposal_key(id) return PREFIX .. 'proposal:' .. id end

-- A count or a time as we write it, or nil. Never tonumber alone, for which also 'nan', 'inf', '0x1' and '1e3' are
-- numbers; and nothing is ever late by a deadline of nan.
local function whole(text)
  if type(text) ~= 'string' or not string.match(text, '^%d+$') or #text > 15 then return nil end
  return tonumber(text)
end

-- A missing hash is nil.
local function fetch(key)
  local flat = redis.call('HGETALL', key)
  if #flat == 0 then return nil end
  local fields = {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end

-- nil, or an error reply where one of our keys holds what no script of ours puts there.
local function damage(expected)
  expected[PENDING], expected[READY], expected[EXECUTING] = 'zset', 'zset', 'zset'
  expected[CARDS], expected[LEASES], expected[AUDIT], expected[SEQ] = 'zset', 'zset', 'stream', 'hash'
  expected[HALTING], expected[SPENT], expected[PREFIX .. 'previews'] = 'hash', 'zset', 'zset'
  expected[TIMERS], expected[ATTESTING] = 'zset', 'zset'
  for key, kind in pairs(expected) do
    local found = redis.call('TYPE', key).ok
    if found ~= 'none' and found ~= kind then
      return redis.error_reply('STORE_DAMAGED ' .. key .. ' holds a ' .. found .. ' where a ' .. kind .. ' belongs')
    end
  end
  return nil
end

-- Audit -----------------------------------------------------------------------------------------------------------

-- `detail` is JSON text, or a table without empty tables in it (cjson cannot tell an empty list from an empty object).
local function audit(kind, tenant, proposal, detail)
  if tenant == nil or tenant == '' then tenant = '-' end
  -- A count that cannot be read begins anew, and shows as a gap once it is sealed.
  local seq = (whole(redis.call('HGET', SEQ, tenant)) or 0) + 1
  if type(detail) == 'table' then detail = next(detail) and cjson.encode(detail) or '{}' end
  redis.call('XADD', AUDIT, '*', 'seq', seq, 'at', now, 'kind', kind, 'tenant', tenant, 'proposal', proposal or '',
    'detail', detail)
  redis.call('HSET', SEQ, tenant, seq)
end

-- Entries that wait for the sealer. `kept`: those that are sealed and still here, for people to read.
local function audit_backlog()
  return math.max(0, redis.call('XLEN', AUDIT) - (whole(redis.pcall('HGET', SEALED, 'kept')) or 0))
end

-- Fences are times in microseconds, of 16 digits, which `whole` does not take. One that is a year ahead is none that we
-- gave: it must not end sealing for ever, as the highest of all would.
local function fence_of(text)
  if type(text) ~= 'string' or not string.match(text, '^%d+$') or #text > 16 then return 0 end
  local fence = tonumber(text)
  return fence < micros + 365 * 24 * 60 * 60 * 1000000 and fence or 0
end

-- Where a proposal stands in the indexes --------------------------------------------------------------------------

local INDEX = { pending = PENDING, approved = READY, executing = EXECUTING }
local INDEX_NAME = { pending = 'pending', approved = 'ready', executing = 'executing' }

-- Counts that cannot drift: members of sorted sets, moved in the step that moves the proposal.
local function indexes(status, p)
  if not INDEX[status] then return {} end
  local keys = { INDEX[status], PREFIX .. 'tenant:' .. (p.tenant or '-') .. ':' .. INDEX_NAME[status] }
  if status == 'pending' then
    keys[3] = PREFIX .. 'agent:' .. (p.tenant or '-') .. ':' .. (p.agent or '-') .. ':pending'
  end
  return keys
end

-- The marks of a tenant's cards, each under when it was first set: proposals without a card, cards that are behind
-- their proposals, and threads that were not told everything. CARDS says when which of them is to be looked at.
local LANES = { 'post', 'update', 'thread' }

local function lane_key(lane, tenant) return PREFIX .. 'cards:' .. lane .. ':' .. (tenant or '-') end

local function damage_around(p)
  local expected = {}
  for _, lane in ipairs(LANES) do expected[lane_key(lane, p.tenant)] = 'zset' end
  for status in pairs(INDEX) do
    for _, key in ipairs(indexes(status, p)) do expected[key] = 'zset' end
  end
  return damage(expected)
end

-- What is gone, or is in another state than an index says, must not stay due there for ever.
local function unindex_but(p, id)
  for status in pairs(INDEX) do
    if p.status ~= status then
      for _, index in ipairs(indexes(status, p)) do redis.call('ZREM', index, id) end
    end
  end
end

local function wake_lane(lane, tenant)
  redis.call('ZADD', CARDS, 'LT', now, lane .. ':' .. (tenant or '-'))
end

-- What is marked already keeps its place, also while a publisher holds it: what that one draws is compared with the
-- revision when it is handed back.
local function mark_lane(lane, tenant, id, order)
  redis.call('ZADD', lane_key(lane, tenant), 'NX', order or micros, id)
  wake_lane(lane, tenant)
end

local function mark_card(id)
  local at = redis.call('HMGET', proposal_key(id), 'tenant', 'card', 'quorum', 'status')
  -- What nobody is asked about is shown only where it may have gone wrong: calls that the policy allows come by the
  -- thousand, and may not stand in the queue before cards that people wait for.
  if not at[2] and whole(at[3]) == 0 and at[4] ~= 'unknown' and at[4] ~= 'failed' then return end
  mark_lane(at[2] and 'update' or 'post', at[1] or '-', id)
  redis.call('PUBLISH', PREFIX .. 'cards:news', id)
end

local function changed(key, id, p)
  redis.call('HSET', key, 'revision', (whole(p.revision) or 0) + 1)
  mark_card(id)
  redis.call('PUBLISH', PREFIX .. 'news:' .. id, 'changed')
end

-- Notes what the next `changed` is about, for the card and its thread.
local function happened(key, p, event)
  local readable, course = pcall(cjson.decode, p.course or '[]')
  if not readable or type(course) ~= 'table' then course = {} end
  event.revision, event.at = (whole(p.revision) or 0) + 1, now
  course[#course + 1] = event
  p.course = cjson.encode(course)
  redis.call('HSET', key, 'course', p.course)
end

local function schedule_timers(key, id)
  local next
  for _, timer in ipairs({ { 'remindAt', 'remindedAt' }, { 'escalateAt', 'escalatedAt' } }) do
    local times = redis.call('HMGET', key, timer[1], timer[2])
    local due = whole(times[1])
    if due and not times[2] and (not next or due < next) then next = due end
  end
  if next then redis.call('ZADD', TIMERS, next, id) else redis.call('ZREM', TIMERS, id) end
end

-- The decision attests what it settles; this long after, somebody else does.
local FIRST_ATTESTATION_MS = 2000

-- Every change of state goes through here. `fields`: flat list of what is true in the new state. `score`: when the
-- new state lapses, for those that are indexed.
local function move(key, id, p, to, fields, score)
  for _, index in ipairs(indexes(p.status, p)) do redis.call('ZREM', index, id) end
  for _, index in ipairs(indexes(to, p)) do redis.call('ZADD', index, score, id) end
  redis.call('HSET', key, 'status', to, unpack(fields))
  -- What waits for people waits for the tool's preview as well, and nothing else does.
  if to == 'pending' then redis.call('ZADD', PREFIX .. 'previews', now, id) else redis.call('ZREM', PREFIX .. 'previews', id) end
  -- What was admitted or settled is marked beside its record: a record that is put back runs no second time. (Who puts
  -- back the whole server puts back the marks: then only the executor that ran it knows.)
  if to == 'executing' or TERMINAL[to] then
    redis.call('ZREMRANGEBYSCORE', SPENT, '-inf', now - SPENT_MS)
    redis.call('ZADD', SPENT, now, id)
  else
    redis.call('ZREM', SPENT, id)
  end
  if to == 'pending' then schedule_timers(key, id) else redis.call('ZREM', TIMERS, id) end
  -- What the policy itself approved has no approvers to look at again.
  if to == 'approved' and (whole(p.quorum) or 0) > 0 then
    redis.call('ZADD', ATTESTING, now + FIRST_ATTESTATION_MS, id)
  else
    redis.call('ZREM', ATTESTING, id)
  end
  changed(key, id, p)
  if TERMINAL[to] then
    redis.call('PEXPIRE', key, RETENTION_MS)
    if (p.idem or '') ~= '' then redis.call('PEXPIRE', p.idem, RETENTION_MS) end
  end
end

-- After a denial --------------------------------------------------------------------------------------------------

-- No shorter than any cooldown that a policy can ask for.
local COOLDOWN_MAX_MS = 24 * 60 * 60 * 1000

-- Ids hold no `:`, and a digest has one length, so that no two calls share a key.
local function cooldown_key(p)
  return PREFIX .. 'denied:' .. (p.tenant or '-') .. ':' .. (p.environment or '-') .. ':' .. (p.agent or '-') .. ':'
    .. (p.tool or '-') .. ':' .. (p.argumentsDigest or '-')
end

-- The id of what was denied last, for whoever asks for the same again.
local function remember_denial(id, p)
  redis.call('SET', cooldown_key(p), id, 'PX', COOLDOWN_MAX_MS)
end

-- The record of a denial of this very call that is younger than `within` ms, and for how long it still holds.
local function denied_lately(p, within)
  if not within or within <= 0 then return nil end
  local id = redis.pcall('GET', cooldown_key(p))
  if type(id) ~= 'string' then return nil end
  local denied = fetch(proposal_key(id))
  if not denied or denied.status ~= 'denied' or cooldown_key(denied) ~= cooldown_key(p) then return nil end
  local since = whole(denied.deniedAt)
  if not since or since + within <= now then return nil end
  return proposal_key(id), since + within - now
end

-- A proposal as it is written first. `made`: what `create` and `edit` are asked; `idem`: its idempotency key, or ''.
local function write_record(key, made, terms, seal, idem)
  redis.call('HSET', key,
    'id', made.id, 'terms', terms, 'seal', seal, 'digest', made.digest, 'revision', 0,
    'tenant', made.tenant, 'environment', made.environment, 'tool', made.tool, 'agent', made.agent,
    'principal', made.principal, 'nonce', made.nonce, 'argumentsDigest', made.argumentsDigest, 'epoch', made.epoch,
    'createdAt', made.createdAt, 'deadline', made.deadline, 'startWithinMs', made.startWithinMs,
    'quorum', made.quorum or 0, 'excluded', made.excluded or '[]', 'idem', idem,
    'counterKey', made.counterKey or '', 'budgetPerMs', made.budgetPerMs or 0,
    'remindAt', made.remindAt or '', 'escalateAt', made.escalateAt or '')
end

-- The switch ------------------------------------------------------------------------------------------------------

-- The 16 scopes that cover a call, as scopeKeysCovering in core/switch/scope.ts has them.
local function covering(p)
  local parts = {
    'tenant=' .. (p.tenant or ''), 'environment=' .. (p.environment or ''),
    'tool=' .. (p.tool or ''), 'agent=' .. (p.agent or ''),
  }
  local keys = { '*' }
  for bits = 1, 15 do
    local chosen = {}
    for i = 0, 3 do
      if math.floor(bits / 2 ^ i) % 2 == 1 then chosen[#chosen + 1] = parts[i + 1] end
    end
    keys[#keys + 1] = table.concat(chosen, '&')
  end
  return keys
end

-- The epoch where writes may start at all, or nil and why not. Whatever cannot be read is closed. `seen` is the
-- highest epoch that the caller has ever been told: a lower one is a Redis that lost what it had promised.
local function armed_epoch(seen)
  local switch = redis.pcall('HMGET', SWITCH, 'state', 'epoch')
  if type(switch) ~= 'table' or switch.err then return nil, 'unreadable' end
  local permit = redis.pcall('GET', ARMED)
  if type(permit) == 'table' then return nil, 'unreadable' end
  local state, text = switch[1], switch[2]
  if not state and not text then return nil, 'never_armed' end
  local epoch = whole(text)
  -- Whoever turned it on wrote 1 at least.
  if not epoch or epoch < math.max(seen or 0, 1) then return nil, 'unreadable' end
  if not state then return nil, 'never_armed' end
  if state == 'off' then return nil, 'off' end
  if state ~= 'on' then return nil, 'unreadable' end
  if not permit then return nil, 'permit_lapsed' end
  -- A permit that never lapses is none: nobody alive would have to stand behind it.
  if permit ~= text or redis.call('PTTL', ARMED) < 0 then return nil, 'unreadable' end
  return epoch, nil
end

local function epoch_now()
  return whole(redis.pcall('HGET', SWITCH, 'epoch')) or 0
end

-- With each answer the caller learns the epoch, and believes no lower one from then on.
local function answer(code, key, extra)
  return { code, key and redis.call('HGETALL', key) or {}, extra and tostring(extra) or '', tostring(epoch_now()) }
end

-- The scope by which a call of this kind is off now, or nil; and its entry.
local function off_now(p)
  local keys, fields = covering(p), {}
  for i, key in ipairs(keys) do fields[i] = 'off:' .. key end
  local entries = redis.pcall('HMGET', SWITCH, unpack(fields))
  if type(entries) ~= 'table' or entries.err then return '*', '' end
  for i, key in ipairs(keys) do
    if entries[i] then return key, entries[i] end
  end
  return nil
end

-- The scope by which this proposal was turned off since its terms were sealed, or nil. Once off, off for good: coming
-- back on resurrects nothing.
local function off_since(p)
  local scope = off_now(p)
  if scope then return scope end
  local keys, fields = covering(p), {}
  for i, key in ipairs(keys) do fields[i] = 'last:' .. key end
  local epochs = redis.pcall('HMGET', SWITCH, unpack(fields))
  if type(epochs) ~= 'table' or epochs.err then return '*' end
  local sealed = whole(p.epoch)
  for i, key in ipairs(keys) do
    if epochs[i] and (not sealed or (whole(epochs[i]) or math.huge) > sealed) then return key end
  end
  return nil
end

-- The halt cause by the last word about a scope; kept after it came back on.
local function cause_of(scope)
  local cause = { kind = 'switch', scope = scope, by = 'unknown' }
  local entry = redis.pcall('HGET', SWITCH, 'why:' .. scope)
  if type(entry) == 'string' then
    local readable, said = pcall(cjson.decode, entry)
    if readable and type(said) == 'table' then
      if type(said.by) == 'string' then cause.by = said.by end
      if type(said.why) == 'string' then cause.why = said.why end
    end
  end
  return cause
end

local function halt(key, id, p, cause)
  audit('proposal.halted', p.tenant, id, { from = p.status, cause = cause })
  move(key, id, p, 'halted', { 'haltedAt', now, 'cause', cjson.encode(cause) })
end

-- Halts, with an alarm, a record that is open again after it was admitted or settled: no step of ours does that.
local function halt_if_spent(key, id, p)
  if not redis.call('ZSCORE', SPENT, id) then return false end
  local message = 'it was admitted or settled before, and its record was put back as it had been'
  audit('alarm.raised', p.tenant, id, { refusal = 'put_back', message = message })
  halt(key, id, p, { kind = 'refused', refusal = 'put_back', message = message })
  return true
end
