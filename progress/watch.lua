-- Tasks that somebody looks at, many of a server in one call: what record.lua would make of each watch.
--
-- A server looks at thousands that stand still. Whatever happens to a record raises its `seq`, but for a watch and a sign
-- of life. So where `seq` is the one that the server knows, it knows the record, and only the watch moves on.
--
-- KEYS     the records' hashes, <prefix>:task:<key>
-- ARGV     span (µs), then for each record its seq as known and its lifetime (s)
-- returns  "<Redis time in µs> <a digit for each record>": 1 = done, 0 = ask record.lua

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local watched_until, done = now + ARGV[1], {}
local stamp = string.format('%.0f', watched_until)

for i, key in ipairs(KEYS) do
  local was = redis.pcall('HMGET', key, 'seq', 'watched_until')
  local known = not was.err and was[1] == ARGV[2 * i]
  if known then
    if (tonumber(was[2]) or 0) < watched_until then redis.call('HSET', key, 'watched_until', stamp) end
    redis.call('EXPIRE', key, ARGV[2 * i + 1])
  end
  done[i] = known and '1' or '0'
end
return string.format('%.0f ', now) .. table.concat(done)
