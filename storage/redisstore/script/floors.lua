-- Reads the floor that begins at that place: its epoch, kind, id and before, which
-- is math.huge for a floor without one, and the place after it. A kind that a newer
-- version brought ends the script: its floor must be neither overlooked nor misread.
local function read(floors, at)
  local epoch, kind, len, next = struct.unpack('>I4c1I2', floors, at)
  if not string.find(kind, '[auc]') then error('a floor of an unknown kind') end
  local id = string.sub(floors, next, next + len % 32768 - 1)
  next = next + len % 32768
  if len < 32768 then return epoch, kind, id, math.huge, next end
  return epoch, kind, id, struct.unpack('>I8', floors, next)
end

