#!lua flags=no-writes
-- What became of an order.
--
-- KEYS  1 record, 2 outbox, 3 sale
-- ARGV  none
--
-- Reply: P pending (reserved, its outbox entry still there); A accepted (delivered); "" unknown: no record, or one that
-- does not count (reserve.lua); S suspended: nothing can be said.

local sale = believe(KEYS[3], KEYS[2])
if not sale then
  return 'S'
end
local record = redis.pcall('GET', KEYS[1])
if type(record) ~= 'string' then
  return ''
end
local generation, entry, of = string.match(record, '^%S+ %d+ (%d+) (%S+) (%d+)$')
if of ~= sale[1] or generation ~= sale[2] then
  local previous = redis.call('HMGET', KEYS[3], 'prev_id', 'prev_gen')
  if not of or of ~= previous[1] or generation ~= previous[2] then
    return ''
  end
end
local entries = redis.pcall('XRANGE', KEYS[2], entry, entry)
if entries.err or redis.call('EXISTS', KEYS[2]) == 0 then
  return 'S'
end
return #entries == 0 and 'A' or 'P'
