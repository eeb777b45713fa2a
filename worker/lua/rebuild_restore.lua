#!lua
-- Rebuild, second half: sets the stock that the ledger has proved and lets the sale go on.
--
-- KEYS  stock, sale, outbox, claims, users, returned, rate, sales, queue
-- ARGV  1 sale id, 2 generation, 3 stock, 4 state (open or closed), 5 withdrawn
--
-- Reply, strings: OK; S <reason>: nothing changed, begin again. Reasons: role, replid (Redis is another one since the
-- first half), sale (its sale or generation is another, or it is not suspended), outbox (not empty), or the key that is
-- missing again.

local stock_key, sale_key = KEYS[1], KEYS[2]
local held = redis.pcall('HMGET', sale_key, 'id', 'gen', 'state', 'replid', 'total')
if held.err or held[1] ~= ARGV[1] or held[2] ~= ARGV[2] or held[3] ~= 'suspended' then
  return {'S', 'sale'}
end
if not replid then
  return {'S', 'role'}
end
if held[4] ~= replid then
  return {'S', 'replid'}
end
held[9] = redis.call('HGET', sale_key, 'queue')
local reason, entries = broken(held, unpack(KEYS, 3, 9))
if reason or entries > 0 then
  return {'S', reason or 'outbox'}
end
if tonumber(ARGV[3]) > tonumber(held[5]) then
  return {'S', 'stock'}
end
redis.call('SET', stock_key, ARGV[3])
redis.call('HSET', sale_key, 'state', ARGV[4], 'withdrawn', ARGV[5])
if ARGV[4] == 'closed' and not number(redis.call('HGET', sale_key, 'closed_at')) then
  -- From now on, where Redis did not know since when. By it closed sales leave the registry and memory.
  local time = redis.call('TIME')
  redis.call('HSET', sale_key, 'closed_at', time[1] .. string.format('%03d', math.floor(time[2] / 1000)))
end
redis.call('HDEL', sale_key, 'rebuilding')
return {'OK'}
