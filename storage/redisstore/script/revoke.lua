#!lua flags=allow-oom
-- Raises the epoch and puts a floor of that epoch under a target. It takes the
-- place of the earlier floors of the target that it covers: those with the same
-- before or an earlier one. A second run raises the floor once more, which ends
-- nothing that the first had not to end: the caller has not been answered yet.
-- KEYS  floors
-- ARGV  kind of the target (u, c or a), its id, its before (ms) or ''
-- Answers the new epoch: at least the seconds since 1970.
local floors = redis.call('GET', KEYS[1]) or string.rep('\0', 8)
local epoch, base = struct.unpack('>I4I4', floors)
local before = tonumber(ARGV[3]) or math.huge
-- Never a number that was given out before Redis lost it, in a crash or a
-- failover: processes may remember it.
epoch = math.max(epoch + 1, tonumber(redis.call('TIME')[1]))
if ARGV[1] == 'a' and before == math.huge then base = epoch end

local next = {struct.pack('>I4I4', epoch, base)}
local at = 9
while at <= #floors do
  local _, kind, id, earlier, after = read(floors, at)
  if kind ~= ARGV[1] or id ~= ARGV[2] or earlier > before then
    next[#next + 1] = string.sub(floors, at, after - 1)
  end
  at = after
end
if before == math.huge then
  next[#next + 1] = struct.pack('>I4c1I2', epoch, ARGV[1], #ARGV[2]) .. ARGV[2]
else
  next[#next + 1] = struct.pack('>I4c1I2', epoch, ARGV[1], #ARGV[2] + 32768) .. ARGV[2] .. struct.pack('>I8', before)
end
redis.call('SET', KEYS[1], table.concat(next))
return epoch
