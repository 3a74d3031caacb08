-- KEYS: the request to turn this scope on. ask: scope, id, byId, epoch, person, user, quorum, lifeMs, tenant.
-- ARGV: ask, why (of what was typed). A word, and the request as it stands.
local key = KEYS[OWN + 1]
local broken = damage({ [key] = 'hash' })
if broken then return broken end
local function said(word, request)
  local flat = {}
  for field, value in pairs(request or {}) do
    flat[#flat + 1] = field
    flat[#flat + 1] = value
  end
  return { word, flat }
end

local standing = fetch(key)
local moved = epoch_now() > ask.epoch
local voided = standing ~= nil and (moved or standing.epoch ~= tostring(ask.epoch))
if voided then
  audit('switch.refused', ask.tenant, nil, { flip = 'on', refusal = 'epoch_moved', scope = ask.scope, by = standing.people })
  redis.call('DEL', key)
  if ask.byId then return said('epoch_moved') end
  standing = nil
end
if moved then return said('epoch_moved') end
if ask.byId and (not standing or standing.id ~= ask.id) then return said('gone') end

if standing then
  -- The same person under another team's id is the same person.
  local others = 0
  local there = false
  for person in string.gmatch(standing.people, '%S+') do
    if string.match(person, '/(.+)$') == ask.user then there = true else others = others + 1 end
  end
  if not ask.byId and standing.why ~= ARGV[2] then
    if others > 0 then return said('other_reason', standing) end
    -- In other words, by the only one who asked: what was asked before is no longer meant.
    redis.call('DEL', key)
    standing = nil
  elseif there then
    return said('same_person', standing)
  end
end

local word = 'waiting'
if standing then
  standing.people = standing.people .. ' ' .. ask.person
else
  standing = { id = ask.id, why = ARGV[2], epoch = tostring(ask.epoch), people = ask.person,
    ['until'] = tostring(now + ask.lifeMs) }
end
local count = 0
for _ in string.gmatch(standing.people, '%S+') do count = count + 1 end
audit('switch.asked', ask.tenant, nil,
  { flip = 'on', scope = ask.scope, by = ask.person, people = count, quorum = ask.quorum, request = standing.id })
if count >= ask.quorum then
  redis.call('DEL', key)
  return said('complete', standing)
end
redis.call('HSET', key, 'id', standing.id, 'why', standing.why, 'epoch', standing.epoch, 'people', standing.people,
  'until', standing['until'])
redis.call('PEXPIREAT', key, standing['until'])
return said(voided and 'voided' or word, standing)
