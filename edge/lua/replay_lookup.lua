#!lua flags=no-writes
-- Which of up to 512 orders have a record, while their sale is remembered as sold out or closed: an order that has none
-- is told so for good, where nothing is for sale. Of one product or several. Changes nothing.
--
-- KEYS  for each group: stock, sale, records (idempotency:{P}:<the group's sale id>). On a cluster: one group a call.
-- ARGV  1 number of groups; then for each group: sale id, n, the latest sale id and generation that the caller has seen
--       ("" where it has seen none), with its fence (trust.lua), then n order ids
--
-- Reply: for each group in turn one string of numbers, a blank behind each: the units that are for sale, 0 where it is
-- closed; then which of its orders have a record of this sale, counted from 1, ascending (reserve.lua says what a record
-- is worth). "0 " is the rule. Or one letter, where nothing is decided about any of them:
--   N the sale's id is another than the caller's
--   S suspended, or behind what the caller has seen (trust.lua)
--   U no such sale: none of the keys is there

-- One group, whose keys begin behind KEYS[k]; its sale id is ARGV[from - 4], its order ids are ARGV[from] to ARGV[to].
local function recorded(k, from, to)
  local stock_key, sale_key, records = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  told = ARGV[from - 1]
  local sale, reason = believe(sale_key, stock_key, records)
  if not sale then
    return reason == 'unknown' and 'U' or 'S'
  end
  if is_behind(sale, ARGV[from - 2], ARGV[from - 1]) then
    return 'S'
  end
  if sale[1] ~= ARGV[from - 4] then
    return 'N'
  end
  -- found[1] is the mark.
  local mark, found = sale[1] .. ' ' .. sale[2], redis.pcall('HMGET', records, '.', unpack(ARGV, from, to))
  local stock = units(sale, stock_key)
  if found[1] ~= mark or not stock then
    return 'S'
  end
  local places = (sale[3] == 'closed' and 0 or stock) .. ' '
  for i = 2, to - from + 2 do
    if found[i] then
      places = places .. i - 1 .. ' '
    end
  end
  return places
end

local reply, a = {}, 2
for group = 1, tonumber(ARGV[1]) do
  local n = tonumber(ARGV[a + 1])
  reply[group] = recorded(3 * group - 3, a + 4, a + 3 + n)
  a = a + 4 + n
end
return reply
