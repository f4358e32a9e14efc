#!lua flags=allow-oom
-- Reads a part of an index: what comes after a place in it.
-- KEYS  index
-- ARGV  end of the place (ms), its member, '' for the beginning; how many entries
-- Answers member, score, member, score, …
local from = 0
if ARGV[2] ~= '' then
  local rank = redis.call('ZRANK', KEYS[1], ARGV[2])
  if rank then
    from = rank + 1
  elseif redis.call('EXISTS', KEYS[1]) == 1 then
    -- The entry that was last read is gone. Where it was, only putting it back
    -- for a moment tells, which nobody sees.
    redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
    from = redis.call('ZRANK', KEYS[1], ARGV[2])
    redis.call('ZREM', KEYS[1], ARGV[2])
  end
end
return redis.call('ZRANGE', KEYS[1], from, from + ARGV[3] - 1, 'WITHSCORES')
