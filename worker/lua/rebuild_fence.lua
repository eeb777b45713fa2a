#!lua
-- Rebuild, first half: binds the sale to this Redis under a new generation and leaves it suspended, so that whatever an
-- edge believes of the old one is refused from now on. Makes every key that is missing or of another type, except the
-- stock, which is not known yet. What stands in the outbox stays. `rebuilding` in the sale says that the second half is due.
--
-- KEYS  stock, sale, outbox, claims, users, returned, rate, sales, queue
-- ARGV  1 sale id, 2 generation, 3 total, 4 rate, 5 burst, 6 seed, 7 units per user (0: no limit), 8 opens at, ms since the
--       epoch (0: from the start), 9 fair or retry: how a crowd waits; 10 the caller's topic (may be left out); 11 "dry": only
--       what would stand in the way is looked for, by a write beside the sale that is taken back (Redis refuses the whole
--       script where it is a replica, full, or cannot save)
--
-- Reply, strings: OK <state before: open or closed>; OLD <generation>: Redis holds this sale with this generation or a later
-- one, or a later sale, nothing changed; T <topic>: what Redis holds is of that topic and another's to rebuild, nothing
-- changed; S role: not a master, nothing changed.

local stock_key, sale_key, outbox, claims = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local users, returned, rate_key, sales, queue = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
if not replid then
  return {'S', 'role'}
end
local noted = redis.pcall('HGET', sale_key, 'topic')
if type(noted) == 'string' and is_foreign(noted, ARGV[10]) then
  return {'T', noted}
end
local fields = {'id', 'gen', 'orders', 'replica', 'opened_at', 'prev_id', 'prev_gen', 'withdrawn', 'state', 'was', 'closed_at'}
local held = redis.pcall('HMGET', sale_key, unpack(fields))
local known, forgotten = {}, nil
if not held.err and number(held[1]) then
  if tonumber(held[1]) > tonumber(ARGV[1]) or (held[1] == ARGV[1] and (tonumber(held[2]) or 0) >= tonumber(ARGV[2])) then
    return {'OLD', held[2] or ''}
  end
  if held[1] == ARGV[1] then
    for i, field in ipairs(fields) do
      known[field] = held[i] or nil
    end
  else
    known.orders = held[3] or nil
    forgotten = {records_of(sale_key, held[1]), records_of(sale_key, held[6] or '')}
  end
end

-- What the sale was before any rebuild began: a close that only Redis knew of outlives a rebuild that did not end.
local was = known.state == 'suspended' and known.was or known.state or 'open'
if ARGV[11] == 'dry' then
  -- No sale has this id.
  local probe = records_of(sale_key, '0')
  redis.call('HSET', probe, '.', '1')
  redis.call('UNLINK', probe)
  return {'OK', was}
end
if forgotten then
  -- An earlier sale: neither its records nor those of the one before it will be asked for.
  redis.call('UNLINK', unpack(forgotten))
end

local function keep_only(key, kind)
  if redis.call('TYPE', key).ok ~= kind then
    redis.call('UNLINK', key)
  end
end

local queue_kind = ARGV[9]
local mark = ARGV[1] .. ' ' .. ARGV[2]
local time = redis.call('TIME')
local records = records_of(sale_key, ARGV[1])
redis.call('UNLINK', sale_key, claims, users, returned, rate_key, records)
redis.call('HSET', sale_key, 'id', ARGV[1], 'gen', ARGV[2], 'state', 'suspended', 'replid', replid, 'total', ARGV[3],
  'orders', number(known.orders) and known.orders or '0', 'per_user', ARGV[7],
  'opens_at', ARGV[8], 'rate', ARGV[4], 'burst', ARGV[5],
  'run_id', string.match(redis.call('INFO', 'server'), 'run_id:(%x+)'), 'seed', ARGV[6],
  'withdrawn', known.withdrawn or '0', 'replica', known.replica or '0', 'opened_at', known.opened_at or ARGV[1],
  'was', was, 'rebuilding', '1', 'queue', queue_kind)
if (ARGV[10] or '') ~= '' then
  redis.call('HSET', sale_key, 'topic', ARGV[10])
end
if known.closed_at then
  redis.call('HSET', sale_key, 'closed_at', known.closed_at)
end
if known.prev_id and known.prev_gen then
  redis.call('HSET', sale_key, 'prev_id', known.prev_id, 'prev_gen', known.prev_gen)
end
keep_only(stock_key, 'string')
keep_only(outbox, 'stream')
keep_only(sales, 'hash')
if redis.call('EXISTS', outbox) == 0 then
  redis.call('XGROUP', 'CREATE', outbox, '.', '$', 'MKSTREAM')
  redis.call('XGROUP', 'DESTROY', outbox, '.')
end
redis.call('HSET', claims, '.', mark)
redis.call('HSET', users, '.', mark)
-- Empty too: the ledger tells them.
redis.call('HSET', records, '.', mark)
redis.call('SADD', returned, '. ' .. mark)
-- Empty: what was granted before may still be in use.
redis.call('HSET', rate_key, '.', mark, 'tokens', '0', 'at', time[1] .. string.format('%06d', time[2]))
redis.call('HSET', sales, '.', mark)
if queue_kind ~= 'fair' then
  redis.call('UNLINK', queue, turns_of(queue))
elseif redis.call('TYPE', queue).ok ~= 'hash' or redis.call('HGET', queue, '.') ~= ARGV[1] then
  -- The places stand in tickets; how far they were called is lost, and is begun anew.
  make_line(queue, ARGV[1])
end
-- Users who were served stay behind those who were not, as far as Redis remembers them.
if queue_kind == 'fair' and redis.pcall('HGET', turns_of(queue), '.') ~= ARGV[1] then
  make_turns(queue, ARGV[1])
end
return {'OK', was}
