-- A task that is sent and has no record yet: what record.lua would make of this queue, where nothing is left to decide.
--
-- Nobody has run it, cancelled it or sent it before, and it is counted nowhere but in itself. Where there is anything
-- under its key, the write is left to record.lua.
--
-- KEYS[1]  the record's hash, <prefix>:task:<key>
-- ARGV     lifetime (s), owner, tasks remembered per user, changes kept for the recorder (0 = it is not told),
--          arguments for it, channel of the task's group ("" = not known), then names and values of the record's fields
-- returns  "<Redis time in µs> <listeners>", listeners -1 = not known; or nil: ask record.lua

local key, lifetime, owner = KEYS[1], ARGV[1], ARGV[2]
if #redis.call('HGETALL', key) > 0 then return false end

local time = redis.call('TIME')
local stamp = string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]))
redis.call('HSET', key, 'seq', stamp, 'run', '1', 'state', 'PENDING', 'queued_at', stamp, 'updated_at', stamp,
           unpack(ARGV, 7))
redis.call('EXPIRE', key, lifetime)
local prefix, task = string.match(key, '^(.-):task:(.*)$')
redis.call('DEL', prefix .. ':log:' .. task)
if owner ~= '' then
  local mine = prefix .. ':mine:' .. owner
  redis.call('ZADD', mine, stamp, task)
  redis.call('ZREMRANGEBYRANK', mine, 0, -ARGV[3] - 1)
  redis.call('EXPIRE', mine, lifetime)
end
if ARGV[4] ~= '0' then
  redis.call('XADD', prefix .. ':changes', 'MAXLEN', '~', ARGV[4], '*', 'key', task, 'arguments', ARGV[5],
             'seq', stamp, 'run', '1', 'state', 'PENDING', 'queued_at', stamp, 'updated_at', stamp, unpack(ARGV, 7))
end

local listeners = -1
if ARGV[6] ~= '' then
  local found = redis.pcall('PUBSUB', 'NUMSUB', ARGV[6])
  listeners = found.err and -1 or found[2]
end
return stamp .. ' ' .. listeners
