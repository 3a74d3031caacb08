-- ask: kind, tenant, proposal. ARGV: ask, detail.
local broken = damage({})
if broken then return broken end
audit(ask.kind, ask.tenant, ask.proposal, ARGV[2])
return 'recorded'
