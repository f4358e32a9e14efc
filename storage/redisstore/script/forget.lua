#!lua flags=allow-oom
-- Ends a grant. In one step, because a grant that has left its indexes and is
-- still there would be missed by every sweep.
-- KEYS  grant, retry, then the indexes that the grant is in
-- ARGV  member
-- Answers 1 when there was a grant, otherwise 0.
for i = 3, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end
redis.call('DEL', KEYS[2])
return redis.call('DEL', KEYS[1])
