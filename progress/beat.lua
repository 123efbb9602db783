-- Signs of life, all of a process in one call: it listens to its queues, its tasks live, and whose lease is over?
--
-- KEYS[1]  <prefix>:leases      KEYS[2]  <prefix>:queues
-- ARGV     lease (µs), lifetime (s), how many expired leases to name, number of queues, the queues, then key and exec of
--          each task
-- returns  a JSON array: Redis time (µs), keys of leases that are over, when the next one is over (µs, 0 = none), and for
--          each task an array of seq, state, control and watched_until, or false: ask record.lua

local lease, lifetime, limit, queues = tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4])
local prefix = string.sub(KEYS[1], 1, -8)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local stamp, leased_until = string.format('%.0f', now), string.format('%.0f', now + lease)
local fresh = now + lease - 1000000  -- promised within the last second, by a save

if queues > 0 then
  for i = 5, 4 + queues do redis.call('ZADD', KEYS[2], leased_until, ARGV[i]) end
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', stamp)
  redis.call('EXPIRE', KEYS[2], lifetime)
end

local answers, renewed = {}, {}
for i = 5 + queues, #ARGV, 2 do
  local task, key, answer = ARGV[i], prefix .. ':task:' .. ARGV[i], false
  local was = redis.pcall('HMGET', key, 'exec', 'state', 'seq', 'control', 'watched_until', 'leased_until')
  -- Anything but a task of this execution that runs has rules of its own.
  if not was.err and was[1] == ARGV[i + 1] and (was[2] == 'STARTED' or was[2] == 'PROGRESS') then
    if (tonumber(was[6]) or 0) < fresh then
      redis.call('HSET', key, 'leased_until', leased_until)
      if (now + i) % 16 == 0 then redis.call('EXPIRE', key, lifetime) end  -- of days: now and then is enough
      renewed[#renewed + 1] = leased_until
      renewed[#renewed + 1] = task
    end
    answer = {was[3], was[2], was[4] or '', was[5] or '0'}
  end
  answers[#answers + 1] = answer
end

if #renewed > 0 then redis.call('ZADD', KEYS[1], unpack(renewed)) end
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', stamp, 'LIMIT', 0, limit)
local nearest = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. stamp, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
return cjson.encode({stamp, over, nearest or '0', answers})
