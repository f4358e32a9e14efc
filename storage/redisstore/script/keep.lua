#!lua flags=allow-oom
-- Keeps a record unless the name is taken by another. It works when memory is full
-- as well: so do revocations, whose receipts are kept so.
-- KEYS  record; the index of names, unless that is on another node
-- ARGV  record, name
-- Answers 1 kept, also in a run that is repeated; 0 the name is taken.
if KEYS[2] then redis.call('ZADD', KEYS[2], 0, ARGV[2]) end
local kept = redis.call('GET', KEYS[1])
if kept then return kept == ARGV[1] and 1 or 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
