#!lua flags=allow-oom
-- Where the orders of one entry part ways: those not acknowledged move to a new entry, and the old one goes.
--
-- KEYS  1 outbox, 2 claims, 3 sale, then a record key for each order that stays undelivered
-- ARGV  1 entry id, then for each of those orders its reservation id, in the order of the keys
--
-- Reply: the new entry's id; "" where the old entry is gone (nothing changed), or none of its orders is named (it was
-- removed); "S" where the sale is suspended (nothing changed). The records that name these reservations point to the new
-- entry and keep their time to live.

local outbox, claims, sale_key = KEYS[1], KEYS[2], KEYS[3]
local sale = believe(sale_key)
if not sale or redis.pcall('HGET', claims, '.') ~= sale[1] .. ' ' .. sale[2] then
  return 'S'
end
local old = redis.call('XRANGE', outbox, ARGV[1], ARGV[1])[1]
if not old then
  return ''
end
local kept, lines, m = {}, {}, 0
for i = 2, #ARGV do
  kept[ARGV[i]] = KEYS[i + 2]
end
for line in string.gmatch(old[2][4], '[^\n]+') do
  if kept[string.match(line, '^%S+')] then
    m = m + 1
    lines[m] = line
  end
end
local new = ''
if m > 0 then
  local orders = string.format('%d', sale[6] + m)
  new = redis.call('XADD', outbox, 'NOMKSTREAM', '*', 'h', string.match(old[2][2], '^(.* )%d+$') .. m,
    'o', table.concat(lines, '\n'), 'c', orders)
  redis.call('HSET', sale_key, 'orders', orders)
  for reservation, key in pairs(kept) do
    local record = redis.call('GET', key)
    local head, entry, tail = string.match(record or '', '^(%S+ %d+ %d+ )(%S+)( %d+)$')
    if head and entry == ARGV[1] and string.match(head, '^%S+') == reservation then
      redis.call('SET', key, head .. new .. tail, 'KEEPTTL')
    end
  end
end
redis.call('XDEL', outbox, ARGV[1])
redis.call('HDEL', claims, ARGV[1])
return new
