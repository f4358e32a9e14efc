#!lua flags=allow-oom
-- Ends a grant. In one step, because a grant that has left its indexes and is
-- still there would be missed by every sweep, and so that a sweep counts it once,
-- whatever breaks meanwhile.
-- KEYS  grant, retry, the count of the sweep if there is one, then the indexes
--       that the grant is in
-- ARGV  member; if there is a count, when the grant was created (ms), and how long
--       to keep the count (ms)
-- Answers 1 when there was a grant, otherwise 0.
for i = ARGV[2] and 4 or 3, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end
redis.call('DEL', KEYS[2])
local found = redis.call('DEL', KEYS[1])
if found == 1 and ARGV[2] then
  if redis.call('ZINCRBY', KEYS[3], 1, 'n') == '1' then redis.call('PEXPIRE', KEYS[3], ARGV[3]) end
  redis.call('ZADD', KEYS[3], 'LT', ARGV[2], 'oldest')
  redis.call('ZADD', KEYS[3], 'GT', ARGV[2], 'newest')
end
return found
