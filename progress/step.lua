-- One more step of a task that runs: what record.lua would make of this save, where nothing is left to decide.
--
-- The writer knows the record's head from the answer to its last save. Whatever else may decide about a save (another
-- execution, an end, a wish to cancel, parts that ended, a loss) raises `seq`. So where `seq` is the one that the writer
-- knows, the head is the one that it knows, and only what moves is written. Everything else is left to record.lua.
--
-- KEYS[1]  the record's hash, <prefix>:task:<key>
-- ARGV     seq as known, n, lease (µs), lifetime (s), share, channel of the task's group ("" = not known), then the texts
--          fraction, body, public, staff
-- returns  "<seq> <Redis time in µs> <watched_until> <listeners>", listeners -1 = not known; or nil: ask record.lua

local key, known = KEYS[1], ARGV[1]
local was = redis.call('HMGET', key, 'seq', 'watched_until')
if was[1] ~= known then return false end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local seq = string.format('%.0f', math.max(tonumber(known) + 1, now))
local stamp, leased_until = string.format('%.0f', now), string.format('%.0f', now + ARGV[3])
redis.call('HSET', key, 'seq', seq, 'n', ARGV[2], 'updated_at', stamp, 'leased_until', leased_until, 'share', ARGV[5],
           'fraction', ARGV[7], 'body', ARGV[8], 'public', ARGV[9], 'staff', ARGV[10])
if ARGV[2] % 16 == 1 then redis.call('EXPIRE', key, ARGV[4]) end  -- it lasts for days: now and then is enough
local prefix, task = string.match(key, '^(.-):task:(.*)$')
redis.call('ZADD', prefix .. ':leases', leased_until, task)

local listeners = -1
if ARGV[6] ~= '' then
  local found = redis.pcall('PUBSUB', 'NUMSUB', ARGV[6])
  listeners = found.err and -1 or found[2]
end
return seq .. ' ' .. stamp .. ' ' .. (was[2] or '0') .. ' ' .. listeners
