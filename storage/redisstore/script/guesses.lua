-- Replaces what a throttle remembers, or forgets it.
-- KEYS  record
-- ARGV  record to be replaced, or ''; next record, or ''; its expiry (ms)
-- Answers 1 replaced, otherwise the record that is there, or ''.
local kept = redis.call('GET', KEYS[1]) or ''
if kept == ARGV[2] then return 1 end -- or a run whose reply was lost
if kept ~= ARGV[1] then return kept end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
end
return 1
