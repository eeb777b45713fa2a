#!lua flags=allow-oom
-- Keeps alive the records of orders that have stood in the outbox for long: a page of the outbox a call. While Kafka is
-- away nobody takes entries over (relay.lua), and no record may run out before its entry is delivered.
--
-- KEYS  1 outbox, 2 claims, 3 sale
-- ARGV  1 where to begin: "-", or "(" and the id that the call before answered, 2 age in ms from which on entries
--       matter, 3 "idempotency:{P}:", 4 seconds: how long the records are made to live at least, 5 most entries a call
--
-- Reply: the last entry's id where there may be more, else "". "" where the sale is suspended: nothing changed.

local outbox, claims, sale_key = KEYS[1], KEYS[2], KEYS[3]
local sale = believe(sale_key)
if not sale or redis.pcall('HGET', claims, '.') ~= sale[1] .. ' ' .. sale[2] then
  return ''
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = string.format('%d', math.max(0, now - ARGV[2]))
local page = redis.pcall('XRANGE', outbox, ARGV[1], due, 'COUNT', ARGV[5])
if page.err then
  return ''
end
for _, entry in ipairs(page) do
  keep_records(entry, ARGV[3], ARGV[4])
end
return #page == tonumber(ARGV[5]) and page[#page][1] or ''
