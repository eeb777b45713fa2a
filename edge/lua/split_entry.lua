#!lua flags=allow-oom
-- Where the orders of one entry part ways: those not acknowledged move to a new entry, and the old one goes.
--
-- KEYS  1 outbox, 2 claims, 3 sale
-- ARGV  1 entry id, 2 how many orders the caller knows the entry to hold,
--       then the places in the entry, from 1, of the orders that Kafka has acknowledged
--
-- Reply: the new entry's id; "" where no order is left to deliver (the entry was removed) or the old entry is gone
-- (nothing changed); D where the entry holds another number of orders (nothing changed); S where the sale is suspended
-- (nothing changed). Records that name the old entry and one of the moved reservations point to the new entry. Asked again
-- after a lost reply it finds the old entry gone.

local outbox, claims, sale_key = KEYS[1], KEYS[2], KEYS[3]
told = true
local sale = believe(sale_key)
if not sale or redis.pcall('HGET', claims, '.') ~= sale[1] .. ' ' .. sale[2] then
  return 'S'
end
local old = redis.call('XRANGE', outbox, ARGV[1], ARGV[1])[1]
if not old then
  return ''
end
local acknowledged = {}
for i = 3, #ARGV do
  acknowledged[tonumber(ARGV[i])] = true
end
local lines, all = {}, 0
for line in string.gmatch(old[2][4] or '', '[^\n]+') do
  all = all + 1
  if not acknowledged[all] then
    lines[#lines + 1] = line
  end
end
local head = string.match(old[2][2] or '', '^(.* )%d+$')
if all ~= tonumber(ARGV[2]) or not head then
  return 'D'
end
local records = records_of(sale_key, string.match(head, '^%d+ (%d+) ') or '')
if not (permits('XADD', outbox, '*', 'h', '') and permits('HSET', sale_key, 'orders', '1') and permits('HSET', records, '.', '')
    and permits('XDEL', outbox, '1-1') and permits('HDEL', claims, '1-1')) then
  return 'S'
end
local new = ''
if #lines > 0 then
  local orders = string.format('%d', sale[6] + #lines)
  new = redis.call('XADD', outbox, 'NOMKSTREAM', '*', 'h', head .. #lines, 'o', table.concat(lines, '\n'), 'c', orders)
  redis.call('HSET', sale_key, 'orders', orders)
  for _, line in ipairs(lines) do
    local made, order = string.match(line, '^(%S+ %d+ )(%S+) ')
    if made and redis.pcall('HGET', records, order) == made .. ARGV[1] then
      redis.call('HSET', records, order, made .. new)
    end
  end
end
redis.call('XDEL', outbox, ARGV[1])
redis.call('HDEL', claims, ARGV[1])
return new
