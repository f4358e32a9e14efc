-- Replaces a user's or a client's record when it has the expected revision.
-- KEYS  record
-- ARGV  next record, revision to be replaced
-- Answers 1 replaced, 0 there is none, -1 it has another revision.
local kept = redis.call('GET', KEYS[1])
if not kept then return 0 end
if cjson.decode(kept).revision ~= tonumber(ARGV[2]) then return -1 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
