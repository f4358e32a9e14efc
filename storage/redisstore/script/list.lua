#!lua flags=allow-oom
-- Puts a name into an index. It works when memory is full as well: see keep.lua.
-- KEYS  index
-- ARGV  name
return redis.call('ZADD', KEYS[1], 0, ARGV[1])
