#!lua flags=allow-oom
-- Ends grants. In one step, because a grant that has left its indexes and is still
-- there would be missed by every sweep, and so that a sweep counts each once,
-- whatever breaks meanwhile.
-- KEYS  for each grant: grant, retry, the indexes that it is in (the same one twice
--       if there is one only), the count of the sweep
-- ARGV  how long to keep counts (ms), '' if this is no sweep; then for each grant:
--       its member, when it was created (ms)
-- Answers how many of the grants there were.
local counts, total = {}, 0
for i = 0, #KEYS / 5 - 1 do
  local grant, retry, one, other, count = KEYS[5 * i + 1], KEYS[5 * i + 2], KEYS[5 * i + 3], KEYS[5 * i + 4], KEYS[5 * i + 5]
  local member, created = ARGV[2 * i + 2], ARGV[2 * i + 3]
  redis.call('ZREM', one, member)
  if other ~= one then redis.call('ZREM', other, member) end
  if redis.call('DEL', grant) == 1 then
    local c = counts[count] or {n = 0, oldest = math.huge, newest = 0}
    c.n, c.oldest, c.newest = c.n + 1, math.min(c.oldest, created), math.max(c.newest, created)
    counts[count], total = c, total + 1
  end
  redis.call('DEL', retry)
end
if ARGV[1] == '' then return total end
for count, c in pairs(counts) do
  redis.call('ZINCRBY', count, c.n, 'n')
  redis.call('ZADD', count, 'LT', c.oldest, 'oldest')
  redis.call('ZADD', count, 'GT', c.newest, 'newest')
  redis.call('PEXPIRE', count, ARGV[1])
end
return total
