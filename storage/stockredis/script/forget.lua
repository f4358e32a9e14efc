-- Forgets a token.
-- KEYS  marker of the token; unless it moved, the token, its record and, if it
--       has one, its sibling
-- ARGV  id of the record
redis.call('DEL', KEYS[1])
if #KEYS == 1 then return 0 end
for _, key in ipairs({KEYS[2], KEYS[4]}) do
  if redis.pcall('GET', key) == ARGV[1] then redis.call('DEL', key) end
end
return redis.call('DEL', KEYS[3])
