-- Keeps a new grant and indexes it.
-- KEYS  grant, floors, then the indexes that the grant belongs in
-- ARGV  record, its expiry (ms), epoch of the sign-in (4 bytes),
--       member, end of the grant (ms), what has ended before may be trimmed (ms)
-- Answers -1 created, -2 the id is taken, otherwise the epoch that it is now.

-- A run whose reply was lost is told by the record, before the epoch: if a
-- revocation came since, the grant was created before it, and is dead by it.
local kept = redis.call('GET', KEYS[1])
if kept == ARGV[1] then return -1 end

local floors = redis.call('GET', KEYS[2])
local epoch = floors and string.sub(floors, 1, 4) or '\0\0\0\0'
if epoch ~= ARGV[3] then return (struct.unpack('>I4', epoch)) end
if kept then return -2 end

for i = 3, #KEYS do
  redis.call('ZADD', KEYS[i], ARGV[5], ARGV[4])
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', '(' .. ARGV[6])
  -- The index lives as long as any grant that was put into it.
  if redis.call('PEXPIRETIME', KEYS[i]) < tonumber(ARGV[5]) then redis.call('PEXPIREAT', KEYS[i], ARGV[5]) end
end
redis.call('SET', KEYS[1], ARGV[1], 'PXAT', ARGV[2])
return -1
