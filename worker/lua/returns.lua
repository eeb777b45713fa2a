#!lua
-- Gives units of dropped second reservations back to the stock, each reservation's once, and no more of them than it took.
--
-- A key has one record in a sale, which names its reservation and what that took; records go only by retire.lua, which notes
-- that it was there (`retired` in :sale), and with their generation. So a return that no record bears out, where none was
-- retired, is of no reservation: a stray record of the topic. Where some were retired, Redis cannot tell.
--
-- KEYS  stock, sale, outbox, claims, users, returned (of one product)
-- ARGV  for each return: reservation id, sale id, generation, quantity, user id, order id
--
-- Reply: one text for each return, in order:
--   R        given back now
--   R<n>     n units given back now: so many were taken, and not the quantity that the return names
--   D        given back before: this is a repeat
--   W        the sale is closed: nobody could buy them. Nothing changed
--   E        of an earlier sale. Nothing changed
--   G        of an older generation: a rebuild has counted it in. Nothing changed
--   Nrecord  nobody took units under this reservation: the order's record names another one, or there is none. Nothing changed
--   Nunits   fewer units of the sale are taken than it names. Nothing changed
--   P<id>    not now: of a sale or generation that this Redis, which holds sale <id>, has not heard of
-- or one single string: S<reason> suspended (edge/lua/trust.lua), U no such sale, L<command> its user may not run this command, which
-- it needs. Nothing changed.

local stock_key, sale_key, users, returned = KEYS[1], KEYS[2], KEYS[5], KEYS[6]
-- Before anything is believed: what may not be read is not lost.
local lacking = denied({{'INFO', 'replication'}, {'HMGET', sale_key, 'id'}, {'EXISTS', sale_key}, {'GET', stock_key},
  {'XLEN', KEYS[3]}, {'HGET', KEYS[4], '.'}, {'HGET', users, '.'}, {'SISMEMBER', returned, '.'},
  {'HGET', records_of(sale_key, '0'), '.'}, {'SADD', returned, '.'}, {'INCRBY', stock_key, '1'}, {'HINCRBY', users, 'u', '-1'},
  {'HDEL', users, 'u'}})
if lacking then
  return {'L' .. lacking}
end
told = true
local sale, reason = believe(sale_key, unpack(KEYS))
if reason == 'unknown' then
  return {'U'}
end
local stock = sale and units(sale, stock_key)
if sale then
  reason = not stock and 'stock' or broken(sale, unpack(KEYS, 3, 6))
end
if reason then
  return {'S' .. reason}
end
local id, generation, total = tonumber(sale[1]), tonumber(sale[2]), tonumber(sale[5])
local records = records_of(sale_key, sale[1])
if redis.pcall('HGET', records, '.') ~= sale[1] .. ' ' .. sale[2] then
  return {'Srecords'}
end
local is_retired = redis.call('HGET', sale_key, 'retired')
local reply = {}

-- Gives back what reservation and user of the return have taken.
local function give_back(reservation, user, taken)
  redis.call('SADD', returned, reservation)
  redis.call('INCRBY', stock_key, taken)
  stock = stock + taken
  if (number(sale[7]) or 0) > 0 and redis.call('HINCRBY', users, user, -taken) <= 0 then
    redis.call('HDEL', users, user)
  end
end

for i = 1, #ARGV / 6 do
  local a = 6 * (i - 1)
  local reservation, quantity, user = ARGV[a + 1], tonumber(ARGV[a + 4]), ARGV[a + 5]
  local of_sale, of_generation = tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  if redis.call('SISMEMBER', returned, reservation) == 1 then
    reply[i] = 'D'
  elseif of_sale < id then
    reply[i] = 'E'
  elseif of_sale == id and of_generation < generation then
    reply[i] = 'G'
  elseif of_sale > id or of_generation > generation then
    reply[i] = 'P' .. sale[1]
  elseif sale[3] == 'closed' then
    reply[i] = 'W'
  else
    local made, taken = string.match(redis.call('HGET', records, ARGV[a + 6]) or '', '^(%S+) (%d+) ')
    taken = made == reservation and tonumber(taken) or nil
    if not (taken or is_retired) then
      reply[i] = 'Nrecord'
    elseif stock + (taken or quantity) > total then
      reply[i] = 'Nunits'
    else
      give_back(reservation, user, taken or quantity)
      reply[i] = taken and taken ~= quantity and string.format('R%d', taken) or 'R'
    end
  end
end
return reply
