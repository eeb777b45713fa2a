#!lua flags=allow-oom
-- Closes a sale: no more is sold, what was left is withdrawn. Orders in the outbox are still delivered.
--
-- KEYS  stock, sale, outbox, claims, users, returned, rate, sales, queue
-- ARGV  1 the caller's topic (may be left out), 2 sale id, 3 generation with its fence (trust.lua), the latest that the
--       caller has seen ("" where it has seen none; may be left out)
--
-- Reply, strings: OK <sale id> <generation> <total> <withdrawn> <rate> <burst>, again the same for a closed sale;
-- U: no such sale; S <reason>: suspended; T <topic>: its orders belong into that topic, and so does word of its end; P <command>:
-- its user may not run this command, which it needs. For these four nothing changed.

local stock_key, sale_key = KEYS[1], KEYS[2]
-- A sale that may not be read is not suspended.
local lacking = denied(reads()) or denied({{'SET', stock_key, '0'}, {'HSET', sale_key, 'state', 'closed'}})
if lacking then
  return {'P', lacking}
end
told = ARGV[3]
local sale, reason = believe(sale_key, stock_key, unpack(KEYS, 3, 9))
if (sale or reason == 'unknown') and is_behind(sale, ARGV[2], ARGV[3]) then
  return {'S', 'behind'}
end
if reason == 'unknown' then
  return {'U'}
end
local topic = redis.pcall('HGET', sale_key, 'topic')
if type(topic) == 'string' and is_foreign(topic, ARGV[1]) then
  return {'T', topic}
end
local stock = sale and units(sale, stock_key)
if sale then
  reason = not stock and 'stock' or broken(sale, unpack(KEYS, 3, 9))
end
if reason then
  return {'S', reason}
end
local fields = redis.call('HMGET', sale_key, 'withdrawn', 'rate', 'burst')
if not (number(fields[1]) and number(fields[2]) and number(fields[3])) then
  return {'S', 'sale'}
end
local withdrawn = fields[1]
if sale[3] == 'open' then
  withdrawn = string.format('%d', stock)
  local time = redis.call('TIME')
  redis.call('SET', stock_key, '0')
  redis.call('HSET', sale_key, 'state', 'closed', 'withdrawn', withdrawn,
    'closed_at', time[1] .. string.format('%03d', math.floor(time[2] / 1000)))
end
return {'OK', sale[1], sale[2], sale[5], withdrawn, fields[2], fields[3]}
