-- KEYS: proposal. ask: id, lane, tenant, lease, revision, posted, untold.
-- ARGV: ask, where the card stands, what it showed at its first posting or ''. Answers the card that is not live now.
local key, id = KEYS[OWN + 1], ask.id
local broken = damage_of_cards()
if broken then return broken end
local p = fetch(key)
local held, replaced = lease_stands(), ''
if not p then
  if held then unmark() end
  return answer('drawn')
end
local standing = p.card
if ask.posted and standing ~= ARGV[2] then
  -- Somebody else has posted meanwhile, and that card is known: this one is the copy.
  local copy = standing and not held
  if not copy then audit('card.posted', p.tenant, id, ARGV[2]) end
  account_for_post(key, p)
  if copy then
    replaced = ARGV[2]
  else
    redis.call('HSET', key, 'card', ARGV[2], 'cardRevision', ask.revision)
    replaced, standing = standing or '', ARGV[2]
  end
end
if ask.posted and ARGV[3] ~= '' and not p.told then redis.call('HSET', key, 'told', ARGV[3]) end
-- A publisher that was slow must not overwrite what a later one drew.
if standing == ARGV[2] and (whole(p.cardRevision) or -1) < ask.revision then
  redis.call('HSET', key, 'cardRevision', ask.revision)
end
if held then unmark() end
if held and ask.untold then mark_lane('thread', ask.tenant, id) end
if (whole(p.revision) or 0) > ask.revision then mark_card(id) end
return answer('drawn', nil, replaced)
