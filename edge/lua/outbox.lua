-- Put behind trust.lua where the outbox is counted.

-- Undelivered orders in the outbox of `entries` entries, the last of which is order number `orders` of all that ever went
-- through it. Never fewer than there are: an entry of another's making counts as a full one; exact up to 32 entries, and
-- beyond where only the oldest have gone.
local function undelivered(outbox, entries, orders)
  local function size(entry)
    return tonumber(string.match(entry[2][2] or '', ' (%d+)$') or 64)
  end
  if entries > 32 then
    local oldest = redis.call('XRANGE', outbox, '-', '+', 'COUNT', 1)[1]
    local since = orders - (tonumber(oldest[2][6] or '') or 0) + size(oldest)
    return math.min(64 * entries, math.max(entries, since))
  end
  local count = 0
  if entries > 0 then
    for _, entry in ipairs(redis.call('XRANGE', outbox, '-', '+')) do
      count = count + size(entry)
    end
  end
  return count
end
