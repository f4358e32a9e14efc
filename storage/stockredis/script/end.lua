#!lua flags=allow-oom
-- Writes down whose tokens are ended, and when that was or, if only those before an
-- instant are, the instant, unless a later one is there already. It works when memory
-- is full as well, as ending grants does.
-- KEYS  hash of what was ended
-- ARGV  field, the time
if tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return 1
