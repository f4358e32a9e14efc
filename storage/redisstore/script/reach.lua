-- Gives a key the life that it has anyway: a change for replicas to confirm.
-- KEYS  key
-- Answers the life in milliseconds, or less than 1 when there is none to give.
local left = redis.call('PTTL', KEYS[1])
if left > 0 then redis.call('PEXPIRE', KEYS[1], left) end
return left
