#!lua
-- Suspends a sale whose units do not add up: more are left than the ledger leaves.
--
-- KEYS  stock, sale, outbox, claims, users, returned (of one product)
-- ARGV  1 sale id, 2 the most units that can be left: total - stored, as the ledger had it before; 0 where it was closed.
--       Of whatever generation: what is stored only grows, and a rebuild sets a stock that leaves room for it
--
-- Reply, strings: OK <units left>: suspended now, and what it was before is kept for a rebuild; NO <reason>: another sale
-- ("sale"), fewer units ("stock"), or suspended already (edge/lua/trust.lua). Nothing changed then.

local stock_key, sale_key = KEYS[1], KEYS[2]
told = true
local sale, reason = believe(sale_key, unpack(KEYS))
if not sale then
  return {'NO', reason}
end
if sale[1] ~= ARGV[1] then
  return {'NO', 'sale'}
end
local left = number(redis.pcall('GET', stock_key))
if not left or left <= tonumber(ARGV[2]) then
  return {'NO', 'stock'}
end
redis.call('HSET', sale_key, 'was', sale[3], 'state', 'suspended')
return {'OK', string.format('%d', left)}
