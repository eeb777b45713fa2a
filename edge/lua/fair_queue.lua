-- Put behind trust.lua: the fair queue's decision, who is called. protocol/src/queue/fair_queue.rs has the same as a model, and
-- says why; a test holds the two against each other.
--
-- The key is a hash: `.` the sale's id; `slot` and `rank`, the watermark: everyone before it may order; `here`, called of
-- the watermark's own slot; `issued`, `called`, `arrived`, `served`, over all time; `tick`, that of the last call, and
-- `cohorts`, for each of the last 9 the watermark's slot and rank when it began, how many were called in it, how many of
-- those have come (the place is the tick modulo 9); `dry`, when the bucket was last empty, µs; `s<slot>`, places given in each
-- slot from the watermark's on, 1024 of them at most.

local SLOTS_MAX, SLOTS_A_CALL_MAX, CALLED_SECONDS_MAX, READY_WEIGHT = 1024, 64, 2, 4
local TICKS, COHORT_US, IDLE_US, SETTLING_US = 9, 250000, 1500000, 300000
local RANKS = 4294967296

-- The line's fields, or nil where it is not this sale's or not what it should be: `slot` to `dry` as numbers, `cohorts` as a flat
-- table of them.
local function read_line(key, sale)
  local held = redis.pcall('HMGET', key, '.', 'slot', 'rank', 'here', 'issued', 'called', 'arrived', 'served', 'tick', 'dry',
    'cohorts')
  if held.err or held[1] ~= sale[1] or not held[11] then
    return nil
  end
  for i = 2, 10 do
    held[i] = number(held[i])
    if not held[i] then
      return nil
    end
  end
  local cohorts = {}
  for value in string.gmatch(held[11], '%d+') do
    cohorts[#cohorts + 1] = tonumber(value)
  end
  held[11] = cohorts
  return #cohorts == 4 * TICKS and held or nil
end

-- Takes a report into account and calls whom the moment allows. The report is ARGV from `first` on: how many were served;
-- of how many cohorts some have come, and for each the tick and how many; and for each slot in which places were given
-- the slot and how many. now and opens in µs, tokens whole ones.
-- The watermark's slot and rank, whether tokens suffice for all (1 or 0), how many places were given and how many were
-- called over all time, the tick, and the cohorts.
local function move_line(key, line, rate, opens, now, tokens, stock, is_open, first)
  local _, slot, lot, here, issued, called, arrived, served, last_tick, dry, cohorts = unpack(line, 1, 11)

  -- Where a tick's cohort begins, less one.
  local function place_of(tick)
    return 4 * (tick % TICKS)
  end

  local tick = math.floor(now / COHORT_US)
  for back = 0, math.min(tick - last_tick, TICKS) - 1 do
    local at = place_of(tick - back)
    cohorts[at + 1], cohorts[at + 2], cohorts[at + 3], cohorts[at + 4] = slot, lot, 0, 0
  end
  local this = place_of(tick) + 3

  local second = slot_at(now, opens)
  served = served + tonumber(ARGV[first])
  local given_from = first + 2 + 2 * tonumber(ARGV[first + 1])
  for i = first + 2, given_from - 1, 2 do
    local of, count = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    arrived = arrived + count
    if of <= tick and of > tick - TICKS then
      cohorts[place_of(of) + 4] = cohorts[place_of(of) + 4] + count
    end
  end
  local last = math.min(math.max(second, slot) + 1, slot + SLOTS_MAX - 1)
  for i = given_from, #ARGV, 2 do
    local given, count = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    issued = issued + count
    if given < slot then
      called, cohorts[this] = called + count, cohorts[this] + count
    else
      given = math.min(given, last)
      redis.call('HINCRBY', key, string.format('s%d', given), count)
      if given == slot and lot > 0 then
        local late = math.floor(count * lot / RANKS)
        here, called, cohorts[this] = here + late, called + late, cohorts[this] + late
      end
    end
  end

  if (tokens == 0 and rate > 0) or now < dry then
    dry = now
  elseif now - dry >= IDLE_US then
    served = math.max(served, arrived)
  end

  if rate == 0 then
    tokens = 2 ^ 52
  end
  local out = READY_WEIGHT * math.max(0, arrived - served)
  for at = 0, 4 * (TICKS - 1), 4 do
    out = out + math.max(0, cohorts[at + 3] - cohorts[at + 4])
  end
  local by_stock = stock == 0 and 0 or stock + math.floor(stock / 4) + 1
  local most = math.min(tokens + CALLED_SECONDS_MAX * rate, by_stock)
  local settled = slot_at(now - SETTLING_US, opens)

  local function pass_to(next_slot)
    redis.call('HDEL', key, string.format('s%d', slot))
    slot, lot, here = next_slot, 0, 0
  end

  local passed = 0
  while is_open and called < issued and passed < SLOTS_A_CALL_MAX do
    local room = most - out
    if slot > second or room <= 0 then
      break
    end
    local count = redis.call('HGET', key, string.format('s%d', slot))
    local rest = count and tonumber(count) - here or 0
    local calling = rest
    if rest > room then
      lot = math.min(lot + math.floor(room * (RANKS - lot) / rest), RANKS - 1)
      here = here + room
      calling = room
    elseif slot < settled or (rest > 0 and out + rest <= tokens) then
      pass_to(slot + 1)
      passed = passed + 1
    else
      break
    end
    called, cohorts[this], out = called + calling, cohorts[this] + calling, out + calling
  end
  if is_open and called == issued and slot < settled then
    pass_to(settled)
  end

  local function whole(value)
    return string.format('%d', value)
  end
  local texts = {}
  for i = 1, #cohorts do
    texts[i] = whole(cohorts[i])
  end
  redis.call('HSET', key, 'slot', whole(slot), 'rank', whole(lot), 'here', whole(here), 'issued', whole(issued),
    'called', whole(called), 'arrived', whole(arrived), 'served', whole(served), 'tick', whole(tick), 'dry', whole(dry),
    'cohorts', table.concat(texts, ' '))
  return slot, lot, (is_open and issued - called + out <= tokens) and 1 or 0, issued, called, tick, cohorts
end
