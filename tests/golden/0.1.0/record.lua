-- The rules of rules.py and workflow.py, run by Redis: one write on one record, decided atomically.
--
-- KEYS[1]  the record's hash, <prefix>:task:<key>. What it is counted in is named in the record itself, so the keys
--          of those are built here: <prefix>:tree:<…> of its workflow and group, <prefix>:task:<…> of its sender
-- ARGV     operation, then a JSON object of its arguments (those that rules.apply documents, and
--          ttl_live, ttl_ended, ttl_forgotten: lifetimes in seconds, mine_limit: tasks remembered per user,
--          changes_max: changes kept for the recorder, arguments: what the task was called with, for it alone,
--          channel: that of the task's group, if its members are to be counted)
-- returns  a JSON array: status, Redis time (µs), the head of the record as it is now (an object; what is missing has
--          its default), the state it was in before, whether it was counted in another state than before (1 or 0),
--          the seq of its sender's record if that was changed (or 0), and how many are in the group (-1 = not known)
--
-- Beside the record it keeps <prefix>:leases (a record's key → until when a sign of life was promised), and when a
-- run begins it lists the task in its owner's <prefix>:mine:<…> and, if it is queued, empties <prefix>:log:<…>.
-- What the recorder is to hear of goes into the stream <prefix>:changes, whole: it need not be there when it happens.
--
-- Numbers are written with %.0f: tostring() and cjson lose the last digits of a seq. Every process waits for this one
-- script, and nine tenths of its time are Lua's own. So a stored number stays the text that it is until somebody
-- counts with it, and one text goes in and comes out instead of sixty and forty.

local HEAD = {'seq', 'exec', 'fence', 'n', 'attempt', 'run', 'state', 'control', 'watched_until',
              'queued_at', 'started_at', 'updated_at', 'finished_at', 'owner', 'tree', 'group', 'part_of',
              'weight', 'share', 'waits', 'process', 'terminable', 'sent', 'queue', 'unserved', 'leased_until',
              'live_state', 'history', 'parts_known', 'parts_ended', 'parts_failed', 'parts_weight', 'parts_done'}
local UNIT = 1000000
local DEFAULTS = {run = 1, weight = UNIT}  -- of numbers; of all others 0
local TEXTS = {'fraction', 'body', 'public', 'staff', 'outcome', 'outcome_staff'}
local FAILED = {FAILURE = true, REJECTED = true}
local MEMBERS = 200
local FINAL = {SUCCESS = true, FAILURE = true, REVOKED = true, IGNORED = true, REJECTED = true}
local LIVE = {STARTED = true, PROGRESS = true, LOST = true}

local key, op, a = KEYS[1], ARGV[1], cjson.decode(ARGV[2])
local prefix, task = string.match(key, '^(.-):task:(.*)$')

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- The head as it is stored, in texts, and as it will be.
local old, stored = {}, redis.call('HMGET', key, unpack(HEAD))
for i = 1, #HEAD do
  if stored[i] then old[HEAD[i]] = stored[i] end
end
local new = setmetatable({}, {__index = old})
local state = old.state or ''
local exists = state ~= ''
local ended = FINAL[state]

local function num(name, default) return tonumber(a[name]) or default end
local function number(head, name) return tonumber(head[name]) or DEFAULTS[name] or 0 end
local function was(name) return number(old, name) end
local function text(head, name) return head[name] or '' end

local stamp = string.format('%.0f', now)
local function written(value)
  if value == 0 then return '0' end  -- these two are most of all numbers
  if value == now then return stamp end
  return string.format('%.0f', value)
end

local function next_seq() return math.max(was('seq') + 1, num('seen', 0) + 1, now) end

local function with_lineage(changes)
  changes.owner, changes.tree = a.owner or '', a.tree or ''
  changes.group, changes.part_of = a.group or '', a.part_of or ''
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
  if exists and a.sent and text(old, 'sent') == a.sent and not a.again then return 'same' end
  -- Whoever sends a task again that was presumed lost begins anew; what was lost cannot come back beside it.
  local given_up = state == 'LOST' and text(old, 'owner') == (a.owner or '') and a.sent
  if not exists or ((ended or given_up) and not a.again) then
    -- What belonged to the run before is no part of this one.
    if exists then redis.call('DEL', prefix .. ':tree:' .. task) end
    return 'accepted', with_texts(with_lineage({
      seq = seq, exec = '', fence = exists and seq or 0, n = 0, attempt = 0,
      run = exists and was('run') + 1 or 1, state = 'PENDING', control = '', queued_at = now, started_at = 0,
      updated_at = now, finished_at = 0, waits = a.waits or '', process = '', terminable = 0,
      sent = a.sent or '', queue = a.queue or '', unserved = 0, leased_until = 0, live_state = '',
      parts_known = 0, parts_ended = 0, parts_failed = 0, parts_weight = 0, parts_done = 0,
      fraction = '', body = '', public = '', staff = '', outcome = '', outcome_staff = ''}))
  end
  if ended then return 'ended' end
  if text(old, 'waits') ~= '' and not a.waits then
    return 'accepted', with_texts({
      seq = seq, waits = '', queued_at = now, updated_at = now, sent = a.sent or '', queue = a.queue or ''})
  end
  return 'refused'
end

function operations.save()
  local fence, n, began = num('fence', 0), num('n', 0), now - num('age', 0)
  local first = fence == 0 and (not exists or text(old, 'exec') ~= a.exec)
  if first then
    local since = math.max(was('started_at'), was('queued_at'))
    if was('fence') > 0 and began < since and since <= now then return 'fenced' end
    -- Nobody shows somebody else's run under this owner's name by sending a task with the same id.
    if exists and text(old, 'owner') ~= (a.owner or '') then return 'refused' end
  elseif exists then
    local known = was('fence')
    if fence == 0 then fence = known end
    if fence < known then return 'fenced' end
    if fence == known and ended then return 'ended' end
    if fence == known and n <= was('n') then return 'stale' end
  end
  local seq = next_seq()
  local changes = {
    seq = seq, exec = a.exec, n = n, state = a.state, waits = '', process = a.process or '',
    terminable = num('terminable', 0), sent = a.sent or text(old, 'sent'), unserved = 0,
    leased_until = LIVE[a.state] and leased() or 0, live_state = '',
    updated_at = now, finished_at = FINAL[a.state] and now or 0, outcome = '', outcome_staff = ''}
  if not exists then
    changes.run = math.max(num('run', 1), 1)
    with_lineage(changes)
  end
  if first then
    changes.fence, changes.attempt, changes.started_at = seq, was('attempt') + 1, began
  elseif was('fence') ~= fence or not exists then
    changes.fence, changes.attempt, changes.started_at = fence, math.max(num('attempt', 1), 1), began
  end
  return 'accepted', with_texts(changes)
end

function operations.verdict()
  if ended then return 'ended' end
  if exists then
    local own = text(old, 'exec') == a.exec and a.exec ~= ''
    if LIVE[state] then
      if not own then return 'fenced' end
    elseif own then
      return 'fenced'
    end
  end
  local changes = {
    seq = next_seq(), state = a.state, waits = '', updated_at = now,
    unserved = 0, leased_until = 0, live_state = a.state == 'LOST' and LIVE[state] and state or '',
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
  if text(old, 'exec') ~= a.exec then return 'fenced' end
  if not LIVE[state] then return 'refused' end
  local changes = {leased_until = leased()}
  if state == 'LOST' then
    changes.seq, changes.live_state, changes.outcome, changes.outcome_staff = next_seq(), '', '', ''
    changes.state = text(old, 'live_state') ~= '' and old.live_state or 'STARTED'
  end
  return 'accepted', changes
end

function operations.lost()
  if not exists then return 'unknown' end
  local until_then = was('leased_until')
  local over = 0 < until_then and until_then <= now and LIVE[state] and state ~= 'LOST'
  if not over or text(old, 'exec') ~= a.exec then return 'refused' end
  -- The last sign of life, which was not written down.
  local heard = until_then - num('lease', until_then)
  return 'accepted', {seq = next_seq(), state = 'LOST', live_state = state, leased_until = 0,
                      updated_at = math.max(was('updated_at'), heard)}
end

function operations.restore()
  -- What is there is older than an end that was read from it before: a replica has taken over that was behind.
  local went_back = exists and was('seq') < num('seen', 0) and was('run') == num('run', 1) and not ended
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
  if state ~= 'PENDING' or text(old, 'waits') ~= '' then return 'refused' end
  local value = num('value', 0)
  if was('unserved') == value then return 'same' end
  return 'accepted', {seq = next_seq(), unserved = value}
end

function operations.cancel()
  if not exists then return 'unknown' end
  if ended then return 'ended' end
  if text(old, 'control') ~= '' then return 'same' end
  return 'accepted', {seq = next_seq(), control = a.by, updated_at = now}
end

function operations.watch()
  if not exists then return 'unknown' end
  return 'accepted', {watched_until = math.max(was('watched_until'), now + num('span', 0))}
end

-- How much of the task is done, in units of its weight. Within a run it only grows.
local function share(changes)
  local weight = changes.weight or was('weight')
  if FINAL[changes.state or state] then return weight end
  local same_run = exists and (changes.run or was('run')) == was('run')
  local reached = math.floor(weight * (tonumber(changes.fraction) or 0))
  return math.max(same_run and was('share') or 0, reached)
end

local function flag(value) return value and 1 or 0 end

-- What this write changes in a whole that has counted the task already, or has not; nil = nothing.
local function move(was_counted)
  local from = was_counted and old or {state = '', weight = 0}
  local weight = number(new, 'weight') - number(from, 'weight')
  local done = number(new, 'share') - number(from, 'share')
  if from.state == new.state and weight == 0 and done == 0 then return nil end
  return {
    left = from.state, weight = weight, done = done, known = flag(from.state == ''),
    ended = flag(FINAL[new.state]) - flag(FINAL[from.state]),
    failed = flag(FAILED[new.state]) - flag(FAILED[from.state])}
end

local function add(name, field, by)
  if by ~= 0 then redis.call('HINCRBY', name, field, written(by)) end
end

local function raise_seq(name)
  local seq = math.max((tonumber(redis.call('HGET', name, 'seq')) or 0) + 1, now)
  redis.call('HSET', name, 'seq', written(seq))
  return seq
end

local function count_in_tree(tree)
  local change = move(exists and (old.tree == tree or old.group == tree))
  if not change then return false end
  local name = prefix .. ':tree:' .. tree
  raise_seq(name)
  redis.call('HSETNX', name, 'owner', text(new, 'owner'))
  add(name, 'weight', change.weight)
  add(name, 'done', change.done)
  add(name, 'open', change.known - change.ended)
  if change.left ~= new.state then
    if change.left ~= '' then add(name, change.left, -1) end
    add(name, new.state, 1)
  end
  if change.known == 1 then
    local place = redis.call('HINCRBY', name, 'names', 1) - 1
    if place < MEMBERS then redis.call('HSET', name, 'm:' .. string.format('%d', place), task) end
  end
  local over = redis.call('HGET', name, 'open') == '0'
  local lifetime = over and a.ttl_ended or a.ttl_live
  if lifetime then redis.call('EXPIRE', name, lifetime) end
  return change.left ~= new.state
end

local function count_in_sender(sender)
  local name = prefix .. ':task:' .. sender
  local change = move(exists and old.part_of == sender)
  if not change or redis.call('HEXISTS', name, 'state') == 0 then return 0 end
  for _, sum in ipairs({'known', 'ended', 'failed', 'weight', 'done'}) do
    add(name, 'parts_' .. sum, change[sum])
  end
  return raise_seq(name)
end

-- Keep the list of leases as the record has it. What is listed and does not run, or is no record, is taken off.
local function list_lease()
  local name, leased_until = prefix .. ':leases', number(new, 'leased_until')
  if leased_until > 0 and LIVE[new.state] and new.state ~= 'LOST' then
    if leased_until ~= was('leased_until') then redis.call('ZADD', name, written(leased_until), task) end
  elseif was('leased_until') > 0 or op == 'lost' then
    redis.call('ZREM', name, task)
  end
end

local function begin_run()
  if op == 'queue' then redis.call('DEL', prefix .. ':log:' .. task) end  -- else it has begun to log already
  if text(new, 'owner') == '' or not a.mine_limit then return end
  local name = prefix .. ':mine:' .. new.owner
  redis.call('ZADD', name, written(now), task)
  redis.call('ZREMRANGEBYRANK', name, 0, -a.mine_limit - 1)
  redis.call('EXPIRE', name, a.ttl_live)
end

local function tell_recorder()
  if number(new, 'history') == 0 or not a.changes_max then return end
  local changed = not exists or op == 'queue' or new.state ~= old.state or text(new, 'control') ~= text(old, 'control')
  for _, name in ipairs({'run', 'attempt'}) do changed = changed or number(new, name) ~= was(name) end
  if not changed then return end
  redis.call('XADD', prefix .. ':changes', 'MAXLEN', '~', a.changes_max, '*',
             'key', task, 'arguments', a.arguments or '', unpack(redis.call('HGETALL', key)))
end

local status, changes = operations[op]()
local moved, sender_seq = false, 0
if changes then
  changes.share = share(changes)
  if changes.share == was('share') then changes.share = nil end
  local flat = {}
  for name, value in pairs(changes) do
    if type(value) == 'number' then value = written(value) end
    new[name] = value
    if exists or (value ~= '' and value ~= '0') or DEFAULTS[name] then  -- what is missing has its default
      flat[#flat + 1] = name
      flat[#flat + 1] = value
    end
  end
  redis.call('HSET', key, unpack(flat))
  local lifetime = a.ttl_live
  if FINAL[new.state] then
    local forgotten = text(new, 'owner') == '' and number(new, 'watched_until') == 0
    lifetime = forgotten and a.ttl_forgotten or a.ttl_ended
  end
  if lifetime then redis.call('EXPIRE', key, lifetime) end
  if not exists or number(new, 'run') ~= was('run') then begin_run() end
  local tree, group, sender = text(new, 'tree'), text(new, 'group'), text(new, 'part_of')
  if tree ~= '' and tree ~= task then moved = count_in_tree(tree) end
  if group ~= '' and group ~= task and group ~= tree then moved = count_in_tree(group) or moved end
  if sender ~= '' then sender_seq = count_in_sender(sender) end
  tell_recorder()
end
list_lease()

-- Who may not ask, or asks another program than Redis, is told that nobody knows.
local function listeners()
  local found = (a.channel or '') ~= '' and redis.pcall('PUBSUB', 'NUMSUB', a.channel)
  return found and not found.err and found[2] or -1
end

local head = {}
for i = 1, #HEAD do
  local name = HEAD[i]
  local value = new[name]
  if value and value ~= '' and (value ~= '0' or DEFAULTS[name]) then head[name] = value end
end
return cjson.encode({status, written(now), head, state, flag(moved), written(sender_seq), listeners()})
