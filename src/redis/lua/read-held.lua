-- KEYS: proposal.
return answer('read', KEYS[OWN + 1])
