#!lua flags=allow-oom
-- Puts events behind the trail, once: a run that is repeated finds the mark of
-- the first. It works when memory is full as well, because ending grants does,
-- and without their events those acts of an admin would be refused just then. Trimming
-- bounds what that takes.
-- KEYS  trail, mark
-- ARGV  how long the mark stays (ms), then the events
-- Answers how many events were put there.
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
for i = 2, #ARGV do redis.call('XADD', KEYS[1], '*', 'e', ARGV[i]) end
-- Last: what fails before it is no run.
redis.call('SET', KEYS[2], '', 'PX', ARGV[1])
return #ARGV - 1
