-- KEYS: the index of the tenant's grants. ask: grants, each as signed and with its call. Answers how many were voided.
local broken = damage({ [KEYS[OWN + 1]] = 'zset' })
if broken then return broken end
local voided = 0
for _, grant in ipairs(ask.grants) do
  broken = grant_damage(grant.id, grant.tenant)
  if broken then return broken end
  local _, why = grant_standing(grant, grant)
  if why == 'grant_void' then voided = voided + 1 end
end
return voided
