-- Put behind trust.lua where the records of orders that stand in the outbox are kept alive.

-- Makes the record of each order of `entry` live at least `ttl` seconds. One that has run out although the entry stands
-- (no edge was there to see to it, or the clock leapt) is written anew, as reserve.lua wrote it: without it a repeat
-- would take a second unit. Another reservation's record is left alone.
local function keep_records(entry, prefix, ttl)
  local id, fields = entry[1], entry[2]
  local sale, generation = string.match(fields[2] or '', '^%d+ (%d+) %d+ (%d+) %d+$')
  for line in string.gmatch(fields[4] or '', '[^\n]+') do
    local reservation, quantity, order = string.match(line, '^(%S+) (%d+) (%S+) ')
    if sale and order then
      local key = prefix .. order
      if redis.call('EXPIRE', key, ttl, 'GT') == 0 then
        local record = reservation .. ' ' .. quantity .. ' ' .. generation .. ' ' .. id .. ' ' .. sale
        redis.call('SET', key, record, 'EX', ttl, 'NX')
      end
    end
  end
end
