-- Keys of the folding, in every one of its scripts. A tenant, an agent and a tool hold no `:`.
local DIGESTS = PREFIX .. 'digests'
local function own_cards_key(p) return PREFIX .. 'own-cards:' .. p.tenant .. ':' .. p.agent .. ':' .. p.tool end
local function folded_key(p, tool) return PREFIX .. 'folded:' .. p.tenant .. ':' .. p.agent .. ':' .. tool end
local function digest_key(p) return PREFIX .. 'digest:' .. p.tenant .. ':' .. p.agent end
local function alike_key(digest) return PREFIX .. 'alike:' .. digest end

-- The tools of which something waits on the digest card, in the order of their names.
local function folded_tools(p)
  local tools = {}
  for _, field in ipairs(redis.call('HKEYS', digest_key(p))) do
    local tool = string.match(field, '^tool:(.+)$')
    if tool and redis.call('ZCARD', folded_key(p, tool)) > 0 then tools[#tools + 1] = tool end
  end
  table.sort(tools)
  return tools
end

-- While somebody draws it, it stays with him: when he hands it back, he is told that it has moved on.
local function mark_digest(p)
  local key = digest_key(p)
  redis.call('HINCRBY', key, 'version', 1)
  local lease = whole(redis.call('HGET', key, 'lease'))
  if not lease or lease <= now then redis.call('ZADD', DIGESTS, 'LT', now, p.tenant .. ':' .. p.agent) end
  redis.call('PUBLISH', PREFIX .. 'cards:news', p.tenant .. ':' .. p.agent)
end

-- It is drawn anew although nothing happened to it: who draws it now has not seen what this is for.
local function redraw(id)
  if redis.call('EXISTS', proposal_key(id)) == 0 then return end
  redis.call('HINCRBY', proposal_key(id), 'revision', 1)
  mark_card(id)
end
