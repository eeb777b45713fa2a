#!lua
-- Opens a sale under a new sale id, in place of the one before. Makes every key of the sale.
--
-- KEYS  stock, sale, outbox, claims, users, returned, rate, sales, queue (the last may be left out where no sale has a fair queue)
-- ARGV  1 total, 2 rate, 3 burst, 4 force (0 or 1), 5 run_id the caller knows ("" where it knows none),
--       6 seed (64 hexadecimal digits), 7 units per user (0: no limit; may be left out),
--       8 opens at, ms since the epoch (0: at once; may be left out), 9 "fair" makes a fair queue (may be left out),
--       10 the topic of its orders (may be left out),
--       11 sale id, 12 generation, the latest that the caller has seen ("" where it has seen none; may be left out)
--
-- Reply, strings:
--   OK <sale id> <generation>, and where there was a sale before, which is closed with this:
--      <its id> <generation> <total> <withdrawn> <rate> <burst>   (3 or 9 elements; 3 where it was of another topic)
--   BUSY <sale id> <generation> <total> <withdrawn> <rate> <burst> <units per user> <opens at, ms> <opened at, ms>
--      <seed> <fair or retry>
--                    a sale has units both sold and left, and force was 0; nothing changed
--   T <topic>        the sale before is of that topic, and not over: closed, and nothing of it in the outbox. Nothing changed
--   R                its id would be beyond 2^52 - 1: the sale before has the last one there is. Nothing changed
--   S <reason>       the sale before is suspended, or run_id is another; nothing changed
--   P <command>      its user may not run this command, which it needs; nothing changed
--
-- The outbox is kept: what stands in it is delivered under its own sale id.

local stock_key, sale_key, outbox, claims = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local users, returned, rate_key, sales, queue_key = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local is_fair = ARGV[9] == 'fair'
-- Notes of earlier sales that are kept: the latest. There may be twice as many before the others go. The ledger tells of those.
local EARLIER_KEPT = 500

-- Nothing may fail behind the first write, and a sale that may not be read is not suspended.
local records_to_be = records_of(sale_key, '0')
local lacking = denied(reads()) or denied({{'HLEN', sales}, {'HGETALL', sales}, {'HDEL', sales, '1'}, {'SET', stock_key, '1'},
  {'UNLINK', sale_key}, {'UNLINK', users}, {'UNLINK', rate_key}, {'UNLINK', records_to_be}, {'HSET', sale_key, 'id', '1'},
  {'HSET', claims, '.', ''}, {'HSET', users, '.', ''}, {'HSET', records_to_be, '.', ''}, {'SREM', returned, '.'},
  {'SADD', returned, '.'}, {'HSET', rate_key, '.', ''}, {'HSET', sales, '.', ''},
  {'XGROUP', 'CREATE', outbox, '.', '$', 'MKSTREAM'}, {'XGROUP', 'DESTROY', outbox, '.'}})
  or queue_key and denied({{'HSET', queue_key, '.', ''}, {'UNLINK', queue_key}, {'HSET', turns_of(queue_key), '.', ''},
    {'UNLINK', turns_of(queue_key)}})
if lacking then
  return {'P', lacking}
end
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if not replid or (ARGV[5] ~= '' and ARGV[5] ~= run_id) then
  return {'S', 'run_id'}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

told = ARGV[12]
local sale, reason = believe(sale_key, stock_key, unpack(KEYS, 3, 9))
if (sale or reason == 'unknown') and is_behind(sale, ARGV[11], ARGV[12]) then
  return {'S', 'behind'}
end
local id, orders, before, forgotten = now, '0', nil, nil
local topic = redis.pcall('HGET', sale_key, 'topic')
local is_others = type(topic) == 'string' and is_foreign(topic, ARGV[10])
if is_others and not (sale and sale[3] == 'closed' and redis.pcall('XLEN', outbox) == 0) then
  return {'T', topic}
end
if sale then
  local stock = units(sale, stock_key)
  reason = not stock and 'stock' or broken(sale, unpack(KEYS, 3, 9))
  if reason then
    return {'S', reason}
  end
  local rest = redis.call('HMGET', sale_key, 'withdrawn', 'rate', 'burst', 'closed_at', 'seed', 'opened_at', 'queue', 'prev_id')
  if not (number(rest[1]) and number(rest[2]) and number(rest[3])) then
    return {'S', 'sale'}
  end
  if sale[3] == 'open' and stock > 0 and stock < tonumber(sale[5]) and ARGV[4] ~= '1' then
    return {'BUSY', sale[1], sale[2], sale[5], rest[1], rest[2], rest[3], sale[7] or '0', sale[8] or '0', rest[6] or '0',
      rest[5] or '', rest[7] or 'retry'}
  end
  local withdrawn = sale[3] == 'closed' and rest[1] or string.format('%d', stock)
  local closed_at = sale[3] == 'closed' and number(rest[4]) and rest[4] or string.format('%d', now)
  before = {sale[1], sale[2], sale[5], withdrawn, rest[2], rest[3], closed_at}
  forgotten = rest[8]
  id = math.max(tonumber(sale[1]) + 1, now)
  orders = sale[6]
elseif reason ~= 'unknown' then
  return {'S', reason}
end
-- The worker takes no order of a later one for an order of ours (2^52 - 1).
if id > 4503599627370495 then
  return {'R'}
end

id = string.format('%d', id)
local mark = id .. ' 1'
local rate, burst = tonumber(ARGV[2]), tonumber(ARGV[3])
local tokens = 0
if rate > 0 then
  -- As lease.lua has it: what leases may carry is not in the bucket.
  tokens = burst * 1000000 - rate * math.floor(math.min(200000, burst * 1000000 / (2 * rate)))
end
local replica = tonumber(string.match(info, 'connected_slaves:(%d+)') or 0) > 0 and '1' or '0'

-- From here on writes; every key is there or free, and of its own type.
if not before then
  redis.call('XGROUP', 'CREATE', outbox, '.', '$', 'MKSTREAM')
  redis.call('XGROUP', 'DESTROY', outbox, '.')
end
redis.call('SET', stock_key, ARGV[1])
redis.call('UNLINK', sale_key, users, rate_key)
redis.call('HSET', sale_key, 'id', id, 'gen', '1', 'state', 'open', 'replid', replid, 'total', ARGV[1],
  'orders', orders, 'per_user', ARGV[7] or '0', 'opens_at', ARGV[8] or '0', 'rate', ARGV[2], 'burst', ARGV[3],
  'run_id', run_id, 'seed', ARGV[6], 'withdrawn', '0', 'replica', replica, 'opened_at', string.format('%d', now),
  'queue', is_fair and 'fair' or 'retry')
if (ARGV[10] or '') ~= '' then
  redis.call('HSET', sale_key, 'topic', ARGV[10])
end
redis.call('HSET', claims, '.', mark)
redis.call('HSET', users, '.', mark)
local records = records_of(sale_key, id)
redis.call('UNLINK', records)
redis.call('HSET', records, '.', mark)
-- Its members are kept: a return of the sale before that is asked for again must still be known as done.
if before then
  redis.call('SREM', returned, '. ' .. before[1] .. ' ' .. before[2])
end
redis.call('SADD', returned, '. ' .. mark)
redis.call('HSET', rate_key, '.', mark, 'tokens', string.format('%d', tokens), 'at', time[1] .. string.format('%06d', time[2]))
redis.call('HSET', sales, '.', mark)
if is_fair then
  make_line(queue_key, id)
  make_turns(queue_key, id)
elseif queue_key then
  redis.call('UNLINK', queue_key, turns_of(queue_key))
end
if not before then
  return {'OK', id, '1'}
end
redis.call('HSET', sale_key, 'prev_id', before[1], 'prev_gen', before[2])
-- The records of the sale before are asked for yet (retire.lua ends that), those of the one before it never again.
if forgotten then
  redis.call('UNLINK', records_of(sale_key, forgotten))
end
if is_others then
  -- Nothing of it is for the ledger of this topic.
  return {'OK', id, '1'}
end
redis.call('HSET', sales, before[1], '{"total":' .. before[3] .. ',"withdrawn":' .. before[4] .. ',"closedAt":' .. before[7]
  .. ',"generation":' .. before[2] .. '}')
if redis.call('HLEN', sales) > 2 * EARLIER_KEPT then
  local noted, ids = redis.call('HGETALL', sales), {}
  for i = 1, #noted, 2 do
    ids[#ids + 1] = number(noted[i]) -- The mark is none.
  end
  table.sort(ids)
  for i = 1, #ids - EARLIER_KEPT do
    redis.call('HDEL', sales, string.format('%d', ids[i]))
  end
end
return {'OK', id, '1', unpack(before, 1, 6)}
