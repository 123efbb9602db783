-- Steps of tasks that run, many of a process in one call: what record.lua would make of each save, where nothing is left
-- to decide.
--
-- The writer knows the record's head from the answer to its last save. Whatever else may decide about a save (another
-- execution, an end, a wish to cancel, parts that ended, a loss) raises `seq`. So where `seq` is the one that the writer
-- knows, the head is the one that it knows, and only what moves is written. Everything else is left to record.lua.
--
-- KEYS     <prefix>:leases, then the records' hashes, <prefix>:task:<key>
-- ARGV     lease (µs), lifetime (s), then for each record its seq as known, n, share, channel of the task's group ("" = not
--          known), and the texts fraction, body, public, staff; the last two are "" where both are as they were
-- returns  "<Redis time in µs>", and for each record " <seq> <watched_until> <listeners>": seq 0 = ask record.lua,
--          listeners -1 = not known

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local stamp, leased_until = string.format('%.0f', now), string.format('%.0f', now + ARGV[1])
local before_name = #KEYS[1] - #'leases' + #'task:' + 1

local leases, channels, seqs, watched = {}, {}, {}, {}
for i = 2, #KEYS do
  local key, at = KEYS[i], 8 * i - 13
  local was = redis.pcall('HMGET', key, 'seq', 'watched_until')
  if not was.err and was[1] == ARGV[at] then
    local seq = tonumber(was[1]) < now and stamp or string.format('%.0f', was[1] + 1)
    redis.call('HSET', key, 'seq', seq, 'n', ARGV[at + 1], 'updated_at', stamp, 'leased_until', leased_until,
               'share', ARGV[at + 2], 'fraction', ARGV[at + 4], 'body', ARGV[at + 5])
    if ARGV[at + 6] ~= '' then redis.call('HSET', key, 'public', ARGV[at + 6], 'staff', ARGV[at + 7]) end
    if ARGV[at + 1] % 16 == 1 then redis.call('EXPIRE', key, ARGV[2]) end  -- it lasts for days: now and then is enough
    leases[#leases + 1] = leased_until
    leases[#leases + 1] = string.sub(key, before_name)
    if ARGV[at + 3] ~= '' then channels[#channels + 1] = ARGV[at + 3] end
    seqs[i], watched[i] = seq, tonumber(was[2]) and was[2] or '0'
  end
end

if #leases > 0 then redis.call('ZADD', KEYS[1], unpack(leases)) end
local listeners = {}
if #channels > 0 then
  local found = redis.pcall('PUBSUB', 'NUMSUB', unpack(channels))
  if not found.err then
    for j = 1, #found, 2 do listeners[found[j]] = found[j + 1] end
  end
end

local told = {stamp}
for i = 2, #KEYS do
  local heard = listeners[ARGV[8 * i - 10]] or -1
  told[i] = seqs[i] and seqs[i] .. ' ' .. watched[i] .. ' ' .. heard or '0 0 -1'
end
return table.concat(told, ' ')
