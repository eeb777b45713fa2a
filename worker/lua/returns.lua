#!lua
-- Gives units of dropped second reservations back to the stock, each reservation's once.
--
-- KEYS  stock, sale, outbox, claims, users, returned (of one product)
-- ARGV  for each return: reservation id, sale id, generation, quantity, user id
--
-- Reply: one letter for each return, in order:
--   R  given back now
--   D  given back before: this is a repeat
--   W  the sale is closed: nobody could buy them. Nothing changed
--   E  of an earlier sale. Nothing changed
--   G  of an older generation: a rebuild has counted it in. Nothing changed
--   P  not now: of a sale or generation that this Redis has not heard of, or the stock would pass the total
-- or one single string: S<reason> suspended (edge/lua/trust.lua), U no such sale. Nothing changed.

local stock_key, sale_key, users, returned = KEYS[1], KEYS[2], KEYS[5], KEYS[6]
local sale, reason = believe(sale_key, unpack(KEYS))
if reason == 'unknown' then
  return {'U'}
end
local stock = sale and units(sale, stock_key)
if sale then
  reason = not stock and 'stock' or broken(sale, unpack(KEYS, 3, 6))
end
if not reason and not (permits('SADD', returned, '.') and permits('INCRBY', stock_key, '1')
    and permits('HINCRBY', users, 'u', '-1') and permits('HDEL', users, 'u')) then
  reason = 'permission'
end
if reason then
  return {'S' .. reason}
end
local id, generation, total = tonumber(sale[1]), tonumber(sale[2]), tonumber(sale[5])
local reply = {}
for i = 1, #ARGV / 5 do
  local a = 5 * (i - 1)
  local reservation, quantity, user = ARGV[a + 1], tonumber(ARGV[a + 4]), ARGV[a + 5]
  local of_sale, of_generation = tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  if redis.call('SISMEMBER', returned, reservation) == 1 then
    reply[i] = 'D'
  elseif of_sale < id then
    reply[i] = 'E'
  elseif of_sale == id and of_generation < generation then
    reply[i] = 'G'
  elseif of_sale > id or of_generation > generation then
    reply[i] = 'P'
  elseif sale[3] == 'closed' then
    reply[i] = 'W'
  elseif stock + quantity > total then
    reply[i] = 'P'
  else
    redis.call('SADD', returned, reservation)
    redis.call('INCRBY', stock_key, quantity)
    stock = stock + quantity
    if (number(sale[7]) or 0) > 0 and redis.call('HINCRBY', users, user, -quantity) <= 0 then
      redis.call('HDEL', users, user)
    end
    reply[i] = 'R'
  end
end
return reply
