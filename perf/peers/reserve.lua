#!lua
-- Takes units for one order: the one call to Redis that every peer makes for an order. The work is that of
-- edge/lua/reserve.lua, one order a call as client libraries pipeline it, and without what guards a Redis that is
-- another one than it was (run id, generations, marks).
--
-- KEYS  stock, outbox, records (a hash, peer:{P}:keys:<sale id>)
-- ARGV  order id, quantity, the record's field "<user>:<key>", outbox entry "<order id> <quantity> <user> <timestamp in ms>"
--
-- Reply, one string:
--   +<entry id>      accepted, in this outbox entry
--   R<order id>      the key's order was accepted before, and its outbox entry is gone: Kafka has it
--   P<order id>      the same, but Kafka has not acknowledged it yet
--   K                the key's order asked for another quantity
--   0                sold out
--   I<available>     fewer left than asked
--   U                no such sale
--
-- A record is "<order id> <quantity> <entry id>". It is made for units that were taken, and for nothing else.

local record = redis.call('HGET', KEYS[3], ARGV[3])
if record then
  local order, quantity, entry = string.match(record, '^(%S+) (%d+) (%S+)$')
  if quantity ~= ARGV[2] then
    return 'K'
  end
  return (#redis.call('XRANGE', KEYS[2], entry, entry) == 0 and 'R' or 'P') .. order
end

local stock = tonumber(redis.call('GET', KEYS[1]))
if not stock then
  return 'U'
elseif stock == 0 then
  return '0'
elseif stock < tonumber(ARGV[2]) then
  return 'I' .. string.format('%d', stock)
end

local entry = redis.call('XADD', KEYS[2], '*', 'o', ARGV[4])
redis.call('DECRBY', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[3], ARGV[3], ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. entry)
return '+' .. entry
