-- Takes a token out of the stock store and leaves the marker of its grant.
-- KEYS  hash of what was ended; marker of the token; unless it moved before, the
--       token, its record, and, if it has a sibling, the sibling and its marker
-- ARGV  marker to leave, the part of it that names the grant, the sibling's marker,
--       id of the record, life of the markers in milliseconds, field of the grant in
--       the hash
-- Answers 1 when the token leads to that marker now, otherwise 0.
if redis.call('HEXISTS', KEYS[1], ARGV[6]) == 1 then return 0 end

local was = redis.call('GET', KEYS[2])
if was then
  if was == ARGV[1] then return 1 end
  if ARGV[1] == ARGV[2] then -- not spent: whatever it gave since is right
    return string.sub(was, 1, #ARGV[2]) == ARGV[2] and 1 or 0
  end
  if was ~= ARGV[2] then return 0 end
  redis.call('SET', KEYS[2], ARGV[1], 'PX', redis.call('PTTL', KEYS[2]))
  return 1
end

local function leads(key) return redis.pcall('GET', key) == ARGV[4] end -- a list, a hash: somebody else's
if #KEYS == 2 or not leads(KEYS[3]) then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[5])
if KEYS[5] and leads(KEYS[5]) then
  redis.call('SET', KEYS[6], ARGV[3], 'PX', ARGV[5])
  redis.call('DEL', KEYS[5])
end
redis.call('DEL', KEYS[3], KEYS[4])
return 1
