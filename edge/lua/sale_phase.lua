-- Put behind trust.lua where it matters how far a sale is.

-- closed, scheduled, sold_out or open: the first that fits. Second: milliseconds until it opens; nil where it has.
local function phase_of(sale, stock)
  local left_ms = opens_in(sale)
  if sale[3] == 'closed' then
    return 'closed', left_ms
  end
  if left_ms then
    return 'scheduled', left_ms
  end
  return stock == 0 and 'sold_out' or 'open', nil
end

-- When the sale opens or has opened, in µs since the epoch. `opened_at`: its field of that name, for a sale that was not
-- scheduled.
local function opens_us(sale, opened_at)
  local opens_at = number(sale[8]) or 0
  if opens_at == 0 then
    opens_at = number(opened_at) or 0
  end
  return opens_at * 1000
end

-- The slot of a moment: 0 before the sale opens, n in its n-th second. Both in µs since the epoch.
local function slot_at(now, opens)
  if now < opens then
    return 0
  end
  return math.min(math.floor((now - opens) / 1000000) + 1, 2147483647)
end
