#!lua flags=allow-oom
-- Keeps a retry for longer, unless a later swap has put another in its place. It works
-- when memory is full as well: the record takes the place of one of its size.
-- KEYS  retry
-- ARGV  record that is there, record with the later end, that end (ms)
-- Answers 1 prolonged, 0 it is another or none.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
return 1
