#!lua
-- Notes that Redis has lost a sale: the ledger knows it as open, and none of its keys is here. From then on the product is
-- suspended for every edge, also for one that has never heard of the sale: nobody is told that there is none, and none is opened
-- anew over it, until a rebuild has brought it back.
--
-- KEYS  stock, sale, outbox, claims, users, returned, rate, sales, queue (of one product)
-- ARGV  1 the sale's id in the ledger
--
-- Reply, strings: OK: noted now, as `lost` in the sale, which is all that stands there then; NO <reason>: something of the product is
-- here, or this is no master (edge/lua/trust.lua). Nothing changed then.

local sale, reason = believe(KEYS[2], unpack(KEYS))
if sale or reason ~= 'unknown' or not replid then
  return {'NO', sale and 'sale' or replid and reason or 'role'}
end
redis.call('HSET', KEYS[2], 'lost', ARGV[1])
return {'OK'}
