#!lua flags=allow-oom
-- Takes the floor of a target away after its sweep, unless it was raised again
-- since: then another sweep is due. The count of the sweep goes in any case. Epoch
-- and base stay for ever.
-- KEYS  floors, count of the sweep
-- ARGV  kind of the target (u, c or a), its id, its before (ms) or '', epoch that
--       was swept
-- Answers 1 when the floor was taken away, otherwise 0.
redis.call('DEL', KEYS[2])
local floors = redis.call('GET', KEYS[1])
if not floors then return 0 end

local before, swept = tonumber(ARGV[3]) or math.huge, tonumber(ARGV[4])
local at = 9
while at <= #floors do
  local floor, kind, id, its, after = read(floors, at)
  if kind == ARGV[1] and id == ARGV[2] and its == before then
    if floor > swept then return 0 end
    redis.call('SET', KEYS[1], string.sub(floors, 1, at - 1) .. string.sub(floors, after))
    return 1
  end
  at = after
end
return 0
