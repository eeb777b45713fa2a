#!lua flags=no-writes
-- Which of up to 512 orders have a record, while their sale is remembered as sold out or closed: an order that has none
-- is told so for good. Of one product or several. Changes nothing.
--
-- KEYS  for each group: sale, records (idempotency:{P}:<the group's sale id>). On a cluster: one group a call.
-- ARGV  1 number of groups; then for each group: sale id, n, the latest sale id and generation that the caller has seen
--       ("" where it has seen none), then n order ids
--
-- Reply: for each group in turn one string: which of its orders have a record of this sale, counted from 1, ascending, a
-- blank behind each (reserve.lua says what a record is worth); empty where none has, as is the rule. Or one letter, where
-- nothing is decided about any of them:
--   N the sale's id is another than the caller's
--   S suspended, or behind what the caller has seen (trust.lua)
--   U no such sale: none of the keys is there

-- One group, whose keys begin behind KEYS[k]; its sale id is ARGV[from - 4], its order ids are ARGV[from] to ARGV[to].
local function recorded(k, from, to)
  local sale_key, records = KEYS[k + 1], KEYS[k + 2]
  local sale, reason = believe(sale_key, records)
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
  if found[1] ~= mark then
    return 'S'
  end
  local places = ''
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
  reply[group] = recorded(2 * group - 2, a + 4, a + 3 + n)
  a = a + 4 + n
end
return reply
