#!lua flags=allow-oom
-- Replaces a user's or a client's record when it has the expected revision and
-- is the same one: revisions begin anew when a name is deleted and made again.
-- KEYS  record
-- ARGV  next record, revision to be replaced
-- Answers 1 replaced, 0 there is none, -1 it has another revision.
local kept = redis.call('GET', KEYS[1])
if not kept then return 0 end
local was, will = cjson.decode(kept), cjson.decode(ARGV[1])
if was.revision ~= tonumber(ARGV[2]) or was.id ~= will.id or was.created ~= will.created then return -1 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
