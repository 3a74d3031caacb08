-- KEYS: proposal. ask: id, foldAbove, alike, alikeMax, tenant, agent, tool, createdAt, deadline: from the sealed terms.
local key, id = KEYS[OWN + 1], ask.id
local own, folded, alike = own_cards_key(ask), folded_key(ask, ask.tool), alike_key(ask.alike)
local digest = digest_key(ask)
local broken = damage({ [own] = 'zset', [folded] = 'zset', [alike] = 'zset', [digest] = 'hash', [DIGESTS] = 'zset' })
if broken then return broken end

-- What waits no longer holds no place, whether or not its own card was looked at since.
local function prune(set)
  for _, member in ipairs(redis.call('ZRANGE', set, 0, -1)) do
    if redis.call('HGET', proposal_key(member), 'status') ~= 'pending' then redis.call('ZREM', set, member) end
  end
end

-- Once few wait, each gets a card of its own.
local function unfold()
  local few = ask.foldAbove - redis.call('ZCARD', own)
  if redis.call('ZCARD', folded) > few then return end
  for _, member in ipairs(redis.call('ZRANGE', folded, 0, -1)) do redraw(member) end
end

local p = fetch(key)
local first = redis.call('ZRANGE', alike, 0, 0)[1]

if not p or p.status ~= 'pending' then
  local was_alike = redis.call('ZREM', alike, id) == 1
  local had_own = redis.call('ZREM', own, id) == 1
  local was_folded = redis.call('ZREM', folded, id) == 1
  prune(own)
  if had_own and was_alike then
    prune(alike)
    for _, member in ipairs(redis.call('ZRANGE', alike, 0, -1)) do redraw(member) end
  elseif was_alike and first then
    redraw(first)
  end
  if was_folded then
    -- Only the switch halts many: what was stopped for a reason of its own is not counted with them.
    local by_switch = p and p.status == 'halted' and string.find(p.cause or '', '"kind":"switch"', 1, true)
    if not p or p.status ~= 'halted' or by_switch then
      redis.call('HINCRBY', digest, 'settled:' .. (p and p.status or 'expired'), 1)
    end
    if by_switch then redis.call('HSET', digest, 'cause', p.cause) end
    mark_digest(ask)
  end
  if had_own or was_folded then unfold() end
  -- What people let run has a card that says who and what came of it, wherever they decided it.
  local ended = p == nil or p.status == 'denied' or p.status == 'expired' or p.status == 'withdrawn' or p.status == 'halted'
  if (was_folded or (was_alike and not had_own)) and not (p and p.card) and ended then return { 'no_card', {} } end
  return { 'own_card', {} }
end

prune(own)
prune(alike)
first = redis.call('ZRANGE', alike, 0, 0)[1]

if not p.card and not redis.call('ZSCORE', own, id) then
  local joined = redis.call('ZSCORE', alike, id)
  if first and first ~= id and redis.call('ZSCORE', own, first)
    and (joined or redis.call('ZCARD', alike) < ask.alikeMax) then
    if not joined then
      redis.call('ZADD', alike, ask.createdAt, id)
      redraw(first)
    end
    if redis.call('ZREM', folded, id) == 1 then mark_digest(ask) end
    return { 'other_card', {} }
  end
  local was_folded = redis.call('ZSCORE', folded, id)
  local others = redis.call('ZCARD', own) + redis.call('ZCARD', folded) - (was_folded and 1 or 0)
  -- All of the folded come out together or none does, so that nothing overtakes what waits longer.
  if others >= ask.foldAbove then
    if not was_folded then
      if redis.call('HGET', digest, 'open') ~= '1' then
        local version = redis.call('HGET', digest, 'version') or '0'
        local episode = redis.call('HGET', digest, 'episode') or '0'
        local lease = redis.call('HGET', digest, 'lease')
        redis.call('DEL', digest)
        redis.call('HSET', digest, 'open', '1', 'version', version, 'episode', (whole(episode) or 0) + 1)
        if lease then redis.call('HSET', digest, 'lease', lease) end
      end
      redis.call('ZREM', alike, id)
      redis.call('HSET', digest, 'tool:' .. ask.tool, '1')
      redis.call('ZADD', folded, ask.deadline, id)
      mark_digest(ask)
    end
    return { 'digest_card', {} }
  end
  if was_folded then
    redis.call('ZREM', folded, id)
    mark_digest(ask)
  end
end
redis.call('ZADD', own, ask.createdAt, id)
-- The first of the identical ones is the one whose card they wait on.
if not first or first == id or not redis.call('ZSCORE', own, first) then redis.call('ZADD', alike, 0, id) end
local there = redis.call('ZRANGE', alike, 0, -1)
return { 'own_card', there[1] == id and there or {} }
