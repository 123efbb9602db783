-- The rules of rules.py and workflow.py, run by Redis: one write on one record, decided atomically.
--
-- KEYS[1]  the record's hash, <prefix>:task:<key>. What it is counted in is named in the record itself, so the keys
--          of those are built here: <prefix>:tree:<…> of its workflow and group, <prefix>:task:<…> of its sender
-- ARGV     operation, then name, value, name, value, …  (the arguments that rules.apply documents, and
--          ttl_live, ttl_ended, ttl_forgotten: lifetimes in seconds, mine_limit: tasks remembered per user,
--          changes_max: changes kept for the recorder, arguments: what the task was called with, for it alone)
-- returns  status, Redis time (µs), the head of the record as it is now (names in HEAD), then the state it was in
--          before, whether it was counted in another state than before (1 or 0), and the seq of its sender's record
--          if that was changed (or 0)
--
-- Beside the record it keeps <prefix>:leases (a record's key → until when a sign of life was promised), and when a
-- run begins it lists the task in its owner's <prefix>:mine:<…> and, if it is queued, empties <prefix>:log:<…>.
-- What the recorder is to hear of goes into the stream <prefix>:changes, whole: it need not be there when it happens.
--
-- Numbers are written with %.0f: tostring() and cjson lose the last digits of a seq.

local HEAD = {'seq', 'exec', 'fence', 'n', 'attempt', 'run', 'state', 'control', 'watched_until',
              'queued_at', 'started_at', 'updated_at', 'finished_at', 'owner', 'tree', 'group', 'part_of',
              'weight', 'share', 'waits', 'process', 'terminable', 'sent', 'queue', 'unserved', 'leased_until',
              'live_state', 'history', 'parts_known', 'parts_ended', 'parts_failed', 'parts_weight', 'parts_done'}
local UNIT = 1000000
local NUMBERS = {seq = 0, fence = 0, n = 0, attempt = 0, run = 1, watched_until = 0,
                 queued_at = 0, started_at = 0, updated_at = 0, finished_at = 0, weight = UNIT, share = 0,
                 parts_known = 0, parts_ended = 0, parts_failed = 0, parts_weight = 0, parts_done = 0,
                 terminable = 0, unserved = 0, leased_until = 0, history = 0}
local TEXTS = {'fraction', 'body', 'public', 'staff', 'outcome', 'outcome_staff'}
local FAILED = {FAILURE = true, REJECTED = true}
local MEMBERS = 200
local FINAL = {SUCCESS = true, FAILURE = true, REVOKED = true, IGNORED = true, REJECTED = true}
local LIVE = {STARTED = true, PROGRESS = true, LOST = true}

local key, op = KEYS[1], ARGV[1]
local prefix, task = string.match(key, '^(.-):task:(.*)$')
local a = {}
for i = 2, #ARGV, 2 do a[ARGV[i]] = ARGV[i + 1] end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local stored = redis.call('HMGET', key, unpack(HEAD))
local old = {}
for i, name in ipairs(HEAD) do
  local value = stored[i] or ''
  old[name] = NUMBERS[name] and (tonumber(value) or NUMBERS[name]) or value
end
local before = {}
for name, value in pairs(old) do before[name] = value end
local exists = old.state ~= ''
local ended = FINAL[old.state]

local function num(name, default) return tonumber(a[name]) or default end
local function next_seq() return math.max(old.seq + 1, num('seen', 0) + 1, now) end

local function with_lineage(changes)
  for _, name in ipairs({'owner', 'tree', 'group', 'part_of'}) do changes[name] = a[name] or '' end
  changes.weight, changes.history = num('weight', UNIT), num('history', 0)
  return changes
end

-- Every operation returns its status and what to change; nil = nothing.
local operations = {}

local function with_texts(changes)
  for _, name in ipairs(TEXTS) do
    if a[name] then changes[name] = a[name] end
  end
  return changes
end

local function leased()
  local lease = num('lease', 0)
  return lease > 0 and now + lease or 0
end

function operations.queue()
  local seq = next_seq()
  -- This very message has a record already: a worker was quicker than a Redis that stalled.
  if exists and a.sent and old.sent == a.sent and not a.again then return 'same' end
  -- Whoever sends a task again that was presumed lost begins anew; what was lost cannot come back beside it.
  local given_up = old.state == 'LOST' and old.owner == (a.owner or '') and a.sent
  if not exists or ((ended or given_up) and not a.again) then
    -- What belonged to the run before is no part of this one.
    if exists then redis.call('DEL', prefix .. ':tree:' .. task) end
    return 'accepted', with_texts(with_lineage({
      seq = seq, exec = '', fence = exists and seq or 0, n = 0, attempt = 0,
      run = exists and old.run + 1 or 1, state = 'PENDING', control = '', queued_at = now, started_at = 0,
      updated_at = now, finished_at = 0, waits = a.waits or '', process = '', terminable = 0,
      sent = a.sent or '', queue = a.queue or '', unserved = 0, leased_until = 0, live_state = '',
      parts_known = 0, parts_ended = 0, parts_failed = 0, parts_weight = 0, parts_done = 0,
      fraction = '', body = '', public = '', staff = '', outcome = '', outcome_staff = ''}))
  end
  if ended then return 'ended' end
  if old.waits ~= '' and not a.waits then
    return 'accepted', with_texts({
      seq = seq, waits = '', queued_at = now, updated_at = now, sent = a.sent or '', queue = a.queue or ''})
  end
  return 'refused'
end

function operations.save()
  local fence, n, began = num('fence', 0), num('n', 0), now - num('age', 0)
  local first = fence == 0 and (not exists or old.exec ~= a.exec)
  if first then
    local since = math.max(old.started_at, old.queued_at)
    if old.fence > 0 and began < since and since <= now then return 'fenced' end
    -- Nobody shows somebody else's run under this owner's name by sending a task with the same id.
    if exists and old.owner ~= (a.owner or '') then return 'refused' end
  elseif exists then
    if fence == 0 then fence = old.fence end
    if fence < old.fence then return 'fenced' end
    if fence == old.fence and ended then return 'ended' end
    if fence == old.fence and n <= old.n then return 'stale' end
  end
  local seq = next_seq()
  local changes = {
    seq = seq, exec = a.exec, n = n, state = a.state, waits = '', process = a.process or '',
    terminable = num('terminable', 0), sent = a.sent or old.sent, unserved = 0,
    leased_until = LIVE[a.state] and leased() or 0, live_state = '',
    updated_at = now, finished_at = FINAL[a.state] and now or 0, outcome = '', outcome_staff = ''}
  if not exists then
    changes.run = math.max(num('run', 1), 1)
    with_lineage(changes)
  end
  if first then
    changes.fence, changes.attempt, changes.started_at = seq, old.attempt + 1, began
  elseif old.fence ~= fence or not exists then
    changes.fence, changes.attempt, changes.started_at = fence, math.max(num('attempt', 1), 1), began
  end
  return 'accepted', with_texts(changes)
end

function operations.verdict()
  if ended then return 'ended' end
  if exists then
    local own = old.exec == a.exec and a.exec ~= ''
    if LIVE[old.state] then
      if not own then return 'fenced' end
    elseif own then
      return 'fenced'
    end
  end
  local changes = {
    seq = next_seq(), state = a.state, waits = '', updated_at = now,
    unserved = 0, leased_until = 0, live_state = a.state == 'LOST' and LIVE[old.state] and old.state or '',
    finished_at = FINAL[a.state] and now or 0}
  -- Known from here on, so that its first write, should it still arrive, is recognised as late.
  if a.exec and a.exec ~= '' then changes.exec = a.exec end
  if not exists then
    with_texts(with_lineage(changes))
    changes.queued_at = now
  end
  changes.outcome, changes.outcome_staff = a.outcome or '', a.outcome_staff or ''
  return 'accepted', changes
end

function operations.renew()
  if not exists then return 'unknown' end
  if old.exec ~= a.exec then return 'fenced' end
  if not LIVE[old.state] then return 'refused' end
  local changes = {leased_until = leased()}
  if old.state == 'LOST' then
    changes.seq, changes.live_state, changes.outcome, changes.outcome_staff = next_seq(), '', '', ''
    changes.state = old.live_state ~= '' and old.live_state or 'STARTED'
  end
  return 'accepted', changes
end

function operations.lost()
  if not exists then return 'unknown' end
  local over = 0 < old.leased_until and old.leased_until <= now and LIVE[old.state] and old.state ~= 'LOST'
  if not over or old.exec ~= a.exec then return 'refused' end
  -- The last sign of life, which was not written down.
  local heard = old.leased_until - num('lease', old.leased_until)
  return 'accepted', {seq = next_seq(), state = 'LOST', live_state = old.state, leased_until = 0,
                      updated_at = math.max(old.updated_at, heard)}
end

function operations.restore()
  -- What is there is older than an end that was read from it before: a replica has taken over that was behind.
  local went_back = exists and old.seq < num('seen', 0) and old.run == num('run', 1) and not ended
  if exists and not (went_back and FINAL[a.state]) then return 'refused' end
  -- Nobody has promised a sign of life since: whoever looks next asks what became of it.
  local runs = LIVE[a.state] and a.state ~= 'LOST'
  local changes = with_texts({
    seq = next_seq(), state = a.state, live_state = '', leased_until = runs and now or 0, unserved = 0, waits = ''})
  for _, name in ipairs({'attempt', 'run', 'queued_at', 'started_at', 'updated_at', 'finished_at'}) do
    if a[name] then changes[name] = num(name, 0) end
  end
  if not exists then
    with_lineage(changes)
    changes.exec, changes.process = a.exec or '', a.process or ''
    for _, name in ipairs({'fence', 'n', 'terminable'}) do changes[name] = num(name, 0) end
  end
  return 'accepted', changes
end

function operations.unserved()
  if not exists then return 'unknown' end
  if old.state ~= 'PENDING' or old.waits ~= '' then return 'refused' end
  local value = num('value', 0)
  if old.unserved == value then return 'same' end
  return 'accepted', {seq = next_seq(), unserved = value}
end

function operations.cancel()
  if not exists then return 'unknown' end
  if ended then return 'ended' end
  if old.control ~= '' then return 'same' end
  return 'accepted', {seq = next_seq(), control = a.by, updated_at = now}
end

function operations.watch()
  if not exists then return 'unknown' end
  return 'accepted', {watched_until = math.max(old.watched_until, now + num('span', 0))}
end

-- How much of the task is done, in units of its weight. Within a run it only grows.
local function share(changes)
  local weight = changes.weight or old.weight
  if FINAL[changes.state or old.state] then return weight end
  local same_run = exists and (changes.run or old.run) == old.run
  local reached = math.floor(weight * (tonumber(changes.fraction) or 0))
  return math.max(same_run and old.share or 0, reached)
end

local function flag(value) return value and 1 or 0 end

-- What this write changes in a whole that has counted the task already, or has not; nil = nothing.
local function move(was_counted)
  local from = was_counted and before or {state = '', weight = 0, share = 0}
  local weight, done = old.weight - from.weight, old.share - from.share
  if from.state == old.state and weight == 0 and done == 0 then return nil end
  return {
    left = from.state, weight = weight, done = done, known = flag(from.state == ''),
    ended = flag(FINAL[old.state]) - flag(FINAL[from.state]),
    failed = flag(FAILED[old.state]) - flag(FAILED[from.state])}
end

local function add(name, field, by)
  if by ~= 0 then redis.call('HINCRBY', name, field, string.format('%.0f', by)) end
end

local function raise_seq(name)
  local seq = math.max((tonumber(redis.call('HGET', name, 'seq')) or 0) + 1, now)
  redis.call('HSET', name, 'seq', string.format('%.0f', seq))
  return seq
end

local function count_in_tree(tree)
  local change = move(exists and (before.tree == tree or before.group == tree))
  if not change then return false end
  local name = prefix .. ':tree:' .. tree
  raise_seq(name)
  redis.call('HSETNX', name, 'owner', old.owner)
  add(name, 'weight', change.weight)
  add(name, 'done', change.done)
  add(name, 'open', change.known - change.ended)
  if change.left ~= old.state then
    if change.left ~= '' then add(name, change.left, -1) end
    add(name, old.state, 1)
  end
  if change.known == 1 then
    local place = redis.call('HINCRBY', name, 'names', 1) - 1
    if place < MEMBERS then redis.call('HSET', name, 'm:' .. string.format('%d', place), task) end
  end
  local over = redis.call('HGET', name, 'open') == '0'
  local lifetime = over and a.ttl_ended or a.ttl_live
  if lifetime then redis.call('EXPIRE', name, lifetime) end
  return change.left ~= old.state
end

local function count_in_sender(sender)
  local name = prefix .. ':task:' .. sender
  local change = move(exists and before.part_of == sender)
  if not change or redis.call('HEXISTS', name, 'state') == 0 then return 0 end
  for _, sum in ipairs({'known', 'ended', 'failed', 'weight', 'done'}) do
    add(name, 'parts_' .. sum, change[sum])
  end
  return raise_seq(name)
end

-- Keep the list of leases as the record has it. What is listed and does not run, or is no record, is taken off.
local function list_lease()
  local name = prefix .. ':leases'
  if old.leased_until > 0 and LIVE[old.state] and old.state ~= 'LOST' then
    if old.leased_until ~= before.leased_until then
      redis.call('ZADD', name, string.format('%.0f', old.leased_until), task)
    end
  elseif before.leased_until > 0 or op == 'lost' then
    redis.call('ZREM', name, task)
  end
end

local function begin_run()
  if op == 'queue' then redis.call('DEL', prefix .. ':log:' .. task) end  -- else it has begun to log already
  if old.owner == '' or not a.mine_limit then return end
  local name = prefix .. ':mine:' .. old.owner
  redis.call('ZADD', name, string.format('%.0f', now), task)
  redis.call('ZREMRANGEBYRANK', name, 0, -a.mine_limit - 1)
  redis.call('EXPIRE', name, a.ttl_live)
end

local function tell_recorder()
  if old.history == 0 or not a.changes_max then return end
  local changed = not exists or op == 'queue'
  for _, name in ipairs({'state', 'run', 'attempt', 'control'}) do changed = changed or old[name] ~= before[name] end
  if not changed then return end
  redis.call('XADD', prefix .. ':changes', 'MAXLEN', '~', a.changes_max, '*',
             'key', task, 'arguments', a.arguments or '', unpack(redis.call('HGETALL', key)))
end

local status, changes = operations[op]()
local moved, sender_seq = false, 0
if changes then
  changes.share = share(changes)
  if changes.share == old.share then changes.share = nil end
  local flat = {}
  for name, value in pairs(changes) do
    flat[#flat + 1] = name
    flat[#flat + 1] = type(value) == 'number' and string.format('%.0f', value) or value
    if old[name] ~= nil then old[name] = value end
  end
  redis.call('HSET', key, unpack(flat))
  local lifetime = a.ttl_live
  if FINAL[old.state] then
    local forgotten = old.owner == '' and old.watched_until == 0
    lifetime = forgotten and a.ttl_forgotten or a.ttl_ended
  end
  if lifetime then redis.call('EXPIRE', key, lifetime) end
  if not exists or old.run ~= before.run then begin_run() end
  if old.tree ~= '' and old.tree ~= task then moved = count_in_tree(old.tree) end
  if old.group ~= '' and old.group ~= task and old.group ~= old.tree then
    moved = count_in_tree(old.group) or moved
  end
  if old.part_of ~= '' then sender_seq = count_in_sender(old.part_of) end
  tell_recorder()
end
list_lease()

local reply = {status, string.format('%.0f', now)}
for _, name in ipairs(HEAD) do
  local value = old[name]
  if NUMBERS[name] then value = string.format('%.0f', value) end
  reply[#reply + 1] = value
end
reply[#reply + 1] = before.state
reply[#reply + 1] = flag(moved)
reply[#reply + 1] = string.format('%.0f', sender_seq)
return reply
