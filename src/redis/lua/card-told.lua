-- ask: id, lane, tenant, lease. The thread knows everything that there was to tell.
local broken = damage_of_cards()
if broken then return broken end
if not lease_stands() then return answer('lost') end
unmark()
return answer('told')
