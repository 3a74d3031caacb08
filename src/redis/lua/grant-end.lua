-- ask: id, state (revoked or voided), by or why. ARGV: ask.
local g = fetch(grant_key(ask.id))
if not g then return 'not_found' end
local broken = grant_damage(ask.id, g.tenant or '-')
if broken then return broken end
if g.state == 'revoked' or g.state == 'voided' then return 'already_ended' end
grant_ended(ask.id, g, ask.state, { grant = ask.id, by = ask.by, why = ask.why })
return 'revoked'
