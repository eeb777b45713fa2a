#!lua flags=no-writes
-- What became of an order.
--
-- KEYS  1 outbox, 2 sale
-- ARGV  1 order id
--
-- Reply: P pending (reserved, its outbox entry still there); A accepted (delivered); "" unknown: no record that counts
-- (reserve.lua), of this sale or the one before; S suspended: nothing can be said.

local outbox, sale_key = KEYS[1], KEYS[2]
local sale = believe(sale_key, outbox)
if not sale then
  return 'S'
end

-- The record of the order in the sale whose id and last generation these are; nil where its records are not there.
local function record_of(id, generation)
  local found = redis.pcall('HMGET', records_of(sale_key, id), '.', ARGV[1])
  if found[1] == id .. ' ' .. generation then
    return found[2]
  end
  return nil
end

local record = record_of(sale[1], sale[2])
if record == nil then
  return 'S'
end
if not record then
  local previous = redis.call('HMGET', sale_key, 'prev_id', 'prev_gen')
  record = previous[1] and previous[2] and record_of(previous[1], previous[2])
end
local entry = record and string.match(record, '^%S+ %d+ (%S+)$')
if not entry then
  return ''
end
local entries = redis.pcall('XRANGE', outbox, entry, entry)
if entries.err or redis.call('EXISTS', outbox) == 0 then
  return 'S'
end
return #entries == 0 and 'A' or 'P'
