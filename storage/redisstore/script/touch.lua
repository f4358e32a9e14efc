#!lua flags=allow-oom
-- Makes a change for replicas to confirm, of which nothing stays. It needs no key: it
-- counts on until it finds one whose slot is at this node. It works when memory is full
-- as well, because ending grants does.
-- ARGV  where to begin
-- Answers where it found one: the next run that begins there needs no search.
local first, denied = tonumber(ARGV[1])
for i = first, first + 1e4 do
  local key = 'grantd:{w' .. i .. '}'
  local set = redis.pcall('SET', key, '')
  if not set.err then
    redis.call('DEL', key)
    return i
  end
  denied = set
end
return denied
