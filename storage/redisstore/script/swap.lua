-- Replaces a grant by its next generation.
-- KEYS  grant, floors, retry
-- ARGV  next record, its expiry (ms), digest of the access token to be
--       replaced, epoch of the grant, user id, client id,
--       retry record or '', its end (ms), when the caller has given up (ms),
--       when the grant was created (ms)
-- Answers 1 swapped, 0 the grant is gone, -1 it has another access token,
-- -2 too late, nothing was done.

-- A Redis that stalled runs what was sent to it when it wakes. By then the
-- retry window may be over, and the client could not get the answer again.
local time = redis.call('TIME')
if time[1] * 1000 + time[2] / 1000 > tonumber(ARGV[9]) then return -2 end

local kept = redis.call('GET', KEYS[1])
if not kept then return 0 end

-- A grant under a floor is dead, though the sweep may not have come to it.
local floors = redis.call('GET', KEYS[2])
if floors then
  local epoch, created = tonumber(ARGV[4]), tonumber(ARGV[10])
  local _, base = struct.unpack('>I4I4', floors)
  if epoch < base then return 0 end
  local at = 9
  while at <= #floors do
    local floor, kind, id, before, after = read(floors, at)
    if epoch < floor and created < before and
        (kind == 'a' or kind == 'u' and id == ARGV[5] or kind == 'c' and id == ARGV[6]) then
      return 0
    end
    at = after
  end
end

if kept == ARGV[1] then return 1 end -- a run whose reply was lost
if not string.find(kept, ARGV[3], 1, true) then return -1 end

redis.call('SET', KEYS[1], ARGV[1], 'PXAT', ARGV[2])
if ARGV[7] == '' then
  redis.call('DEL', KEYS[3])
else
  redis.call('SET', KEYS[3], ARGV[7], 'PXAT', ARGV[8])
end
return 1
