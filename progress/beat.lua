-- Signs of life, all of a worker in one call: it listens to its queues, its tasks live, and whose lease is over?
--
-- A task for which somebody has just signed is not looked at, whichever execution that was. An end takes it off the list,
-- and is found at once; another execution is found by the first beat that comes later after its sign than what is fresh.
--
-- KEYS[1]  <prefix>:leases      KEYS[2]  <prefix>:queues
-- ARGV     lease (µs), lifetime (s), what is fresh (µs), how many expired leases to name, number of queues, the queues,
--          then key and exec of each task
-- returns  a JSON array: Redis time (µs), keys of leases that are over, when the next one is over (µs, 0 = none), and
--          which tasks are left to record.lua, counted from 0

local lease, lifetime, limit, queues = tonumber(ARGV[1]), ARGV[2], ARGV[4], tonumber(ARGV[5])
local prefix = string.sub(KEYS[1], 1, -8)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local stamp, leased_until = string.format('%.0f', now), string.format('%.0f', now + lease)
local soonest, latest = now + lease - ARGV[3], now + lease  -- of a fresh promise; a later one is of another clock

if queues > 0 then
  for i = 6, 5 + queues do redis.call('ZADD', KEYS[2], leased_until, ARGV[i]) end
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', stamp)
  redis.call('EXPIRE', KEYS[2], lifetime)
end

local tasks, left, renewed = {}, {}, {}
for i = 6 + queues, #ARGV, 2 do tasks[#tasks + 1] = ARGV[i] end
local promised = #tasks > 0 and redis.call('ZMSCORE', KEYS[1], unpack(tasks)) or {}
for i, task in ipairs(tasks) do
  local promise = tonumber(promised[i]) or 0
  if promise < soonest or promise > latest then
    local key = prefix .. ':task:' .. task
    local was = redis.pcall('HMGET', key, 'exec', 'state')
    -- Anything but a task of this execution that runs has rules of its own.
    if not was.err and was[1] == ARGV[2 * i + 5 + queues] and (was[2] == 'STARTED' or was[2] == 'PROGRESS') then
      redis.call('HSET', key, 'leased_until', leased_until)
      if (now + i) % 16 == 0 then redis.call('EXPIRE', key, lifetime) end  -- of days: now and then is enough
      renewed[#renewed + 1] = leased_until
      renewed[#renewed + 1] = task
    else
      left[#left + 1] = i - 1
    end
  end
end

if #renewed > 0 then redis.call('ZADD', KEYS[1], unpack(renewed)) end
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', stamp, 'LIMIT', 0, limit)
local nearest = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. stamp, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
return cjson.encode({stamp, over, nearest or '0', left})
