-- Put in front of every script, behind its #!lua line: what must hold before a word of a sale is believed.
--
-- A sale trusts the Redis whose master_replid it was bound to by /init or rebuild. A restart, a failover, REPLICAOF
-- there and back give another one; FLUSHALL and lost writes leave keys missing. /init and rebuild make every key, each
-- hash and set with a member `.` that names sale and generation, so absence always means loss.
--
-- A sale that was opened under a fence (docs/FENCE.md) stands here as `fenced` in place of open, which edges of older versions
-- take for suspended. It is believed of a caller alone that obeys the fence by which this very Redis sells it: who does tells
-- generations with the master_replid that the fence names behind them, a blank between.
--
-- Where a reason is given, it is one word: permission (its user may not ask who this Redis is), role, replid, fence (the caller
-- obeys none, or one that names another Redis), state, behind
-- (the caller has seen a later sale or generation than this Redis holds: an old master that woke, or data that went back),
-- or the key that is missing or not what it should be.

-- Empty where the user may not ask. An error would tell the caller that the script stopped on its way, and so that it may
-- have written; but nothing was begun.
local info = redis.pcall('INFO', 'replication')
info = type(info) == 'string' and info or ''
-- Plain finds: a pattern that is tried at each place of the text costs five times as much.
local _, before_id = string.find(info, 'master_replid:', 1, true)
local replid = before_id and string.find(info, 'role:master', 1, true) and string.match(info, '^%x+', before_id + 1)

-- The generation as the caller has told it, with the fence that it obeys; true of a script that sells nothing and believes
-- nothing for good. Set before anything is believed.
local told = nil

-- A whole number as Redis itself would write it, or nil.
local function number(text)
  if type(text) == 'string' and (text == '0' or string.find(text, '^[1-9]%d*$')) then
    return tonumber(text)
  end
  return nil
end

-- The sale's fields, or nil and a reason; 'unknown' where there is neither the sale nor any of the other keys given.
-- Fields: 1 id, 2 gen, 3 state (open, too, where it is sold under a fence: then `fenced` is set), 4 replid, 5 total, 6 orders,
-- 7 per_user, 8 opens_at, 9 queue.
local function believe(sale_key, ...)
  local sale = redis.pcall('HMGET', sale_key, 'id', 'gen', 'state', 'replid', 'total', 'orders', 'per_user', 'opens_at',
    'queue')
  if sale.err then
    return nil, 'sale'
  end
  if not sale[1] and redis.pcall('EXISTS', sale_key, ...) == 0 then
    return nil, 'unknown'
  end
  if not (sale[1] and sale[2] and tonumber(sale[5]) and tonumber(sale[6])) then
    return nil, 'sale'
  end
  if not replid then
    return nil, info == '' and 'permission' or 'role'
  end
  if sale[4] ~= replid then
    return nil, 'replid'
  end
  if sale[3] == 'fenced' then
    if told ~= true and string.match(told or '', ' (%x+)$') ~= replid then
      return nil, 'fence'
    end
    sale[3], sale.fenced = 'open', true
  elseif sale[3] ~= 'open' and sale[3] ~= 'closed' then
    return nil, 'state'
  end
  return sale
end

-- Whether a sale's orders belong into another topic than the caller's. `noted`: the sale's `topic`. A sale that was opened
-- before sales noted theirs is taken for the caller's own, and so is every sale by a caller that names none.
local function is_foreign(noted, topic)
  return noted and topic and topic ~= '' and noted ~= topic
end

-- The key of a sale's records; `key` is any of the product's.
local function records_of(key, sale_id)
  return 'idempotency:' .. string.match(key, '{.-}') .. ':' .. sale_id
end

-- The key of a fair sale's turns: by user the slot up to which all their places are used up, since they were served then;
-- `.` the sale's id; `..` how many of them were served without getting a unit. `key` is any of the product's.
local function turns_of(key)
  return 'product:' .. string.match(key, '{.-}') .. ':turns'
end

-- Whether the caller's user may do this. A script that writes more than one thing asks of each before the first: one that
-- its user is refused half way is not undone.
local function permits(...)
  return not redis.acl_check_cmd or redis.acl_check_cmd(...)
end

-- Whether a caller that has seen this sale id and generation ("": none yet) has seen a later one than `sale`, which is nil
-- where there is none.
local function is_behind(sale, id, generation)
  if sale and sale[1] == id and sale[2] == generation then
    return false
  end
  id, generation = tonumber(id or ''), tonumber(string.match(generation or '', '^%d*'))
  if not id then
    return false
  end
  local held = sale and tonumber(sale[1]) or 0
  return held < id or (held == id and tonumber(sale[2]) < (generation or 0))
end

-- Units left, or nil where they cannot be believed.
local function units(sale, stock_key)
  local stock = number(redis.pcall('GET', stock_key))
  return stock and stock <= tonumber(sale[5]) and stock or nil
end

-- nil where the other keys are there and of this sale and generation, else which is not (rate, sales, queue and the
-- records: where they are given). Second: the number of entries in the outbox.
local function broken(sale, outbox, claims, users, returned, rate, sales, queue)
  local entries = redis.pcall('XLEN', outbox)
  if type(entries) ~= 'number' or (entries == 0 and redis.pcall('EXISTS', outbox) ~= 1) then
    return 'outbox'
  end
  local mark = sale[1] .. ' ' .. sale[2]
  if redis.pcall('HGET', claims, '.') ~= mark then
    return 'claims'
  end
  if redis.pcall('HGET', users, '.') ~= mark then
    return 'users'
  end
  if redis.pcall('SISMEMBER', returned, '. ' .. mark) ~= 1 then
    return 'returned'
  end
  if rate and redis.pcall('HGET', rate, '.') ~= mark then
    return 'rate'
  end
  if sales and redis.pcall('HGET', sales, '.') ~= mark then
    return 'sales'
  end
  if sales and redis.pcall('HGET', records_of(sales, sale[1]), '.') ~= mark then
    return 'records'
  end
  -- Of the sale and not of its generation: a rebuild takes nobody's place away.
  if queue and sale[9] == 'fair' and redis.pcall('HGET', queue, '.') ~= sale[1] then
    return 'queue'
  end
  if queue and sale[9] == 'fair' and redis.pcall('HGET', turns_of(queue), '.') ~= sale[1] then
    return 'turns'
  end
  return nil, entries
end

-- Makes the turns of a sale's fair queue, of which none is used up.
local function make_turns(queue, id)
  redis.call('UNLINK', turns_of(queue))
  redis.call('HSET', turns_of(queue), '.', id, '..', '0')
end

-- Makes the line of a sale's fair queue, which is empty; fair_queue.lua says what its fields are.
local function make_line(queue, id)
  redis.call('UNLINK', queue)
  redis.call('HSET', queue, '.', id, 'slot', '0', 'rank', '0', 'here', '0', 'issued', '0', 'called', '0', 'arrived', '0',
    'served', '0', 'tick', '0', 'dry', '0', 'cohorts', string.rep('0 ', 36))
end

-- Milliseconds until the sale opens, on Redis' clock; nil where it has.
local function opens_in(sale)
  local opens_at = number(sale[8]) or 0
  if opens_at == 0 then
    return nil
  end
  local time = redis.call('TIME')
  local left = opens_at - time[1] * 1000 - math.floor(time[2] / 1000)
  return left > 0 and string.format('%d', left) or nil
end
