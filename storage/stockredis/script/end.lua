-- Ends the tokens made before an instant, unless a later one is there already.
-- KEYS  hash of what was ended
-- ARGV  field, the instant (ms)
if tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return 1
