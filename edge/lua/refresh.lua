#!lua flags=allow-oom
-- What the edges know of the sales, read every second. Changes nothing but two notes in :sale, see below.
--
-- KEYS  for each product: stock, sale, outbox, claims, users, returned, rate, sales, queue
-- ARGV  1 the values of master_replid, a blank between, that this caller has seen to be one history, on this same connection
--         and until less than a second ago (edge/src/core/state/witness.rs); "" where it vouches for nothing
--       2 the caller's topic (may be left out: then no sale is another's)
--
-- Reply: a flat array, for each product in turn 15 strings:
--    1 state: open, scheduled, sold_out, closed, suspended, unknown (none of the product's keys is there), foreign (its
--      orders belong into another topic: nothing is changed, and the fields from 3 on are empty)
--    2 reason, where it is suspended (trust.lua); where it is foreign its topic
--    3 sale id, 4 generation, and where it is sold under a fence the master_replid that this has to name, a blank between,
--    5 total, 6 stock, 7 rate, 8 burst: empty where they cannot be read
--    9 outbox entries, 10 oldest entry id ("" if none), 11 outbox orders (exact up to 32 entries, else never fewer
--      than there are), 12 replica: 1 where this sale's Redis was ever seen with a replica
--   13 newest entry id ("" if none), 14 milliseconds until it opens, on Redis' clock ("0": it has),
--   15 the seed where it has a fair queue ("": it has none)
--
-- Notes: the first replica seen is noted (replica = 1). And where master_replid is new under the same run_id with
-- master_replid2 all zeros (the first replica was attached, or the backlog released: nothing was lost), a caller that
-- vouches for the one the sale is bound to lets it take the new one over.

told = true
local replicas = tonumber(string.match(info, 'connected_slaves:(%d+)') or 0) > 0
local harmless = ARGV[1] ~= '' and replid and string.find(info, 'master_replid2:' .. string.rep('0', 40), 1, true)
local run_id = nil
local reply, said = {}, 0

local function say(...)
  for i = 1, 15 do
    local value = select(i, ...)
    reply[said + i] = value and tostring(value) or ''
  end
  said = said + 15
end

-- Entries, oldest, orders, newest.
local function outbox_of(outbox, orders)
  local entries = redis.pcall('XLEN', outbox)
  if type(entries) ~= 'number' or entries == 0 then
    return '0', '', '0', ''
  end
  local oldest = redis.call('XRANGE', outbox, '-', '+', 'COUNT', 1)[1][1]
  local newest = redis.call('XREVRANGE', outbox, '+', '-', 'COUNT', 1)[1][1]
  return string.format('%d', entries), oldest, string.format('%d', undelivered(outbox, entries, orders)), newest
end

-- One product, whose keys begin behind KEYS[k].
local function refresh(k)
  local stock_key, sale_key, outbox = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local sale, reason = believe(sale_key, stock_key, unpack(KEYS, k + 3, k + 9))
  if reason == 'unknown' then
    return say('unknown')
  end
  local fields = redis.pcall('HMGET', sale_key, 'id', 'gen', 'total', 'rate', 'burst', 'orders', 'replica', 'queue', 'seed',
    'topic', 'run_id', 'replid')
  if fields.err then
    return say('suspended', reason)
  end
  if is_foreign(fields[10], ARGV[2]) then
    return say('foreign', fields[10])
  end
  if reason == 'replid' and harmless and #(fields[12] or '') == 40 and string.find(ARGV[1], fields[12], 1, true) then
    run_id = run_id or string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
    if fields[11] == run_id then
      redis.call('HSET', sale_key, 'replid', replid)
      sale, reason = believe(sale_key)
    end
  end
  local stock = sale and units(sale, stock_key)
  if sale then
    reason = not stock and 'stock' or broken(sale, unpack(KEYS, k + 3, k + 9))
  end
  if replicas and fields[1] and fields[7] ~= '1' then
    redis.call('HSET', sale_key, 'replica', '1')
    fields[7] = '1'
  end
  local phase, left_ms = nil, nil
  if sale then
    phase, left_ms = phase_of(sale, stock)
  end
  local left = redis.pcall('GET', stock_key)
  local entries, oldest, orders, newest = outbox_of(outbox, number(fields[6]) or 0)
  local generation = sale and sale.fenced and fields[2] .. ' ' .. replid or fields[2]
  say(reason and 'suspended' or phase, reason, fields[1], generation, fields[3], number(left) and left, fields[4], fields[5],
    entries, oldest, orders, fields[7] or '0', newest, left_ms or '0',
    fields[8] == 'fair' and fields[9] or '')
end

for k = 0, #KEYS - 9, 9 do
  refresh(k)
end
return reply
