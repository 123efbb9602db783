-- Signs of life for tasks that have nothing to say, many of a process in one call: what record.lua would make of each, for
-- whoever has to know what has become of its tasks. beat.lua is for who only keeps them alive.
--
-- KEYS[1]  <prefix>:leases
-- ARGV     lease (µs), lifetime (s), then key and exec of each task
-- returns  a JSON array: Redis time (µs), and for each task an array of seq, state, control and watched_until, or false:
--          ask record.lua

local lease, lifetime = tonumber(ARGV[1]), ARGV[2]
local prefix = string.sub(KEYS[1], 1, -8)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local leased_until = string.format('%.0f', now + lease)
-- Of what was promised within the last second, by a save. A later one is of a clock that was put back.
local soonest, latest = now + lease - 1000000, now + lease

local answers, renewed = {}, {}
for i = 3, #ARGV, 2 do
  local task, key, answer = ARGV[i], prefix .. ':task:' .. ARGV[i], false
  local was = redis.pcall('HMGET', key, 'exec', 'state', 'seq', 'control', 'watched_until', 'leased_until')
  -- Anything but a task of this execution that runs has rules of its own.
  if not was.err and was[1] == ARGV[i + 1] and (was[2] == 'STARTED' or was[2] == 'PROGRESS') then
    local promise = tonumber(was[6]) or 0
    if promise < soonest or promise > latest then
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
return cjson.encode({string.format('%.0f', now), answers})
