#!lua flags=allow-oom
-- Changes a key for replicas to confirm, and leaves it as it is. It works when memory
-- is full as well, because ending grants does.
-- KEYS  key, of any type
-- Answers 1.
local left = redis.call('PTTL', KEYS[1])
if left >= 0 then
  redis.call('PEXPIRE', KEYS[1], math.max(left, 1))
elseif redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('PEXPIRE', KEYS[1], 1e12)
  redis.call('PERSIST', KEYS[1])
else
  redis.call('SET', KEYS[1], '')
  redis.call('DEL', KEYS[1])
end
return 1
