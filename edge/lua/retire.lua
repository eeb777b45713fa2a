#!lua flags=allow-oom
-- Removes records that no repeat can need any more, and frees their memory in the background. All of a sale's records
-- go together, `ttl` after the last of its orders (or after it was replaced), and never while the outbox holds an
-- order.
--
-- KEYS  1 outbox, 2 sale
-- ARGV  1 ttl in ms
--
-- Reply: how many keys were emptied or removed. A suspended sale keeps everything. Two notes in :sale, `resting_orders` and
-- `resting_since`, tell how many orders it had when it was last seen to have taken more, and when that was; a third, `retired`,
-- that records of this sale and generation are gone, so that an order without one may have had one (returns.lua of the worker).

local outbox, sale_key = KEYS[1], KEYS[2]
told = true
local sale = believe(sale_key)
if not sale then
  return 0
end
local time = redis.call('TIME')
local now, ttl = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[1])
local notes = redis.call('HMGET', sale_key, 'resting_orders', 'resting_since', 'prev_id', 'opened_at')
local since = tonumber(notes[2] or '')
-- A clock that was set back begins the rest anew.
if notes[1] ~= sale[6] or not since or since > now then
  since = now
  redis.call('HSET', sale_key, 'resting_orders', sale[6], 'resting_since', string.format('%d', now))
end
if redis.pcall('XLEN', outbox) ~= 0 then
  return 0
end
local retired = 0
local records = records_of(sale_key, sale[1])
local mark = redis.pcall('HGET', records, '.')
-- Where the mark is missing the records are lost, which must be seen (trust.lua).
if now - since >= ttl and mark == sale[1] .. ' ' .. sale[2] and redis.call('HLEN', records) > 1 then
  redis.call('HSET', sale_key, 'retired', '1')
  redis.call('UNLINK', records)
  redis.call('HSET', records, '.', mark)
  retired = 1
end
if notes[3] and now - (tonumber(notes[4] or '') or now) >= ttl then
  retired = retired + redis.call('UNLINK', records_of(sale_key, notes[3]))
end
return retired
