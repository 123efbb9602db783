-- Records as they are stored, each as one text: clients take long over answers of many parts.
--
-- KEYS     the records' hashes
-- ARGV     names of fields
-- returns  for each key a JSON array of the values, false for those that are not there; the error for what is no hash

local found = {}
for index, key in ipairs(KEYS) do
  local values = redis.pcall('HMGET', key, unpack(ARGV))
  found[index] = values.err and values or cjson.encode(values)
end
return found
