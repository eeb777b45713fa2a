#!lua flags=no-writes
-- What became of up to 512 orders, of one product or several. Changes nothing.
--
-- KEYS  for each group: outbox, sale. On a cluster: one group a call.
-- ARGV  1 number of groups; then for each group: n, the latest sale id and generation that the caller has seen ("" where it
--       has seen none), then n order ids
--
-- Reply: for each group in turn one string of n letters, one an order:
--   P pending (reserved, its outbox entry still there)
--   A accepted (delivered)
--   - unknown: no record that counts (reserve.lua), of this sale or the one before
-- or S: suspended, or behind what the caller has seen (trust.lua); nothing can be said of any.

-- One group, whose keys begin behind KEYS[k] and whose order ids are ARGV[from] to ARGV[to].
local function letters_of(k, from, to)
  local outbox, sale_key = KEYS[k + 1], KEYS[k + 2]
  told = true
  local sale = believe(sale_key, outbox)
  if not sale or is_behind(sale, ARGV[from - 2], ARGV[from - 1]) then
    return 'S'
  end
  -- found[1] is the mark.
  local found = redis.pcall('HMGET', records_of(sale_key, sale[1]), '.', unpack(ARGV, from, to))
  if found[1] ~= sale[1] .. ' ' .. sale[2] then
    return 'S'
  end
  local n, absent = to - from + 1, 0
  for i = 2, n + 1 do
    if not found[i] then
      absent = absent + 1
    end
  end
  local previous = absent > 0 and redis.call('HMGET', sale_key, 'prev_id', 'prev_gen')
  if previous and previous[1] and previous[2] then
    local places, ids = {}, {}
    for i = 1, n do
      if not found[i + 1] then
        places[#places + 1], ids[#ids + 1] = i + 1, ARGV[from + i - 1]
      end
    end
    local before = redis.pcall('HMGET', records_of(sale_key, previous[1]), '.', unpack(ids))
    if before[1] == previous[1] .. ' ' .. previous[2] then
      for j = 1, #places do
        found[places[j]] = before[j + 1]
      end
    end
  end
  if absent == n and not (previous and previous[1]) then
    return string.rep('-', n)
  end

  -- Orders of one reserve call share an entry, which is looked for once.
  local letters, stands = {}, {}
  for i = 1, n do
    local entry = found[i + 1] and string.match(found[i + 1], '^%S+ %d+ (%S+)$')
    if entry and stands[entry] == nil then
      local entries = redis.pcall('XRANGE', outbox, entry, entry)
      if entries.err then
        return 'S'
      end
      stands[entry] = #entries > 0
    end
    letters[i] = not entry and '-' or stands[entry] and 'P' or 'A'
  end
  if next(stands) and redis.call('EXISTS', outbox) == 0 then
    return 'S'
  end
  return table.concat(letters)
end

local reply, a = {}, 2
for group = 1, tonumber(ARGV[1]) do
  local n = tonumber(ARGV[a])
  reply[group] = letters_of(2 * group - 2, a + 3, a + n + 2)
  a = a + n + 3
end
return reply
