-- Put behind trust.lua: the fair queue's decision, who is called. protocol/src/queue/line.rs has the same as a model, and
-- says why; a test holds the two against each other.
--
-- The key is a hash: `.` the sale's id; `slot` and `rank`, the watermark: everyone before it may order; `here`, called of
-- the watermark's own slot; `issued`, `called`, `arrived`, `served`, over all time; `tick` and `absent` (called less
-- arrived, as each of the last 8 ticks began); `dry`, when the bucket was last empty, µs; `s<slot>`, places given in each
-- slot from the watermark's on, 1024 of them at most.

local SLOTS_MAX, SLOTS_A_CALL_MAX, CALLED_SECONDS_MAX = 1024, 64, 2
local TICKS, TICK_US, IDLE_US, SETTLING_US = 8, 187500, 1500000, 300000
local RANKS, SLOT_LAST = 4294967296, 2147483647

local function slot_at(now, opens)
  if now < opens then
    return 0
  end
  return math.min(math.floor((now - opens) / 1000000) + 1, SLOT_LAST)
end

-- The line's fields, or nil where it is not this sale's or not what it should be: `slot` to `dry` as numbers, `absent`.
local function read_line(key, sale)
  local held = redis.pcall('HMGET', key, '.', 'slot', 'rank', 'here', 'issued', 'called', 'arrived', 'served', 'tick', 'dry',
    'absent')
  if held.err or held[1] ~= sale[1] or not held[11] then
    return nil
  end
  for i = 2, 10 do
    held[i] = number(held[i])
    if not held[i] then
      return nil
    end
  end
  local absent = {}
  for value in string.gmatch(held[11], '%S+') do
    absent[#absent + 1] = tonumber(value)
  end
  held[11] = absent
  return #absent == TICKS and held or nil
end

-- Takes a report into account and calls whom the moment allows. The report is ARGV from `first` on: arrived, served, and
-- for each slot in which places were given the slot and how many. now and opens in µs, tokens whole ones.
-- The watermark's slot and rank, and whether nobody waits (1 or 0).
local function move_line(key, line, rate, opens, now, tokens, stock, is_open, first)
  local _, slot, lot, here, issued, called, arrived, served, last_tick, dry, absent = unpack(line, 1, 11)
  -- Places in `absent`: tick modulo TICKS, and one, since Lua counts from there.
  local tick = math.floor(now / TICK_US)
  for back = 0, math.min(tick - last_tick, TICKS) - 1 do
    absent[(tick - back) % TICKS + 1] = called - arrived
  end

  local second = slot_at(now, opens)
  arrived, served = arrived + tonumber(ARGV[first]), served + tonumber(ARGV[first + 1])
  local last = math.min(math.max(second, slot) + 1, slot + SLOTS_MAX - 1)
  for i = first + 2, #ARGV, 2 do
    local given, count = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    issued = issued + count
    if given < slot then
      called = called + count
    else
      given = math.min(given, last)
      redis.call('HINCRBY', key, string.format('s%d', given), count)
      if given == slot and lot > 0 then
        local late = math.floor(count * lot / RANKS)
        here, called = here + late, called + late
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
  local to_come = math.max(0, called - arrived - absent[(tick + 1) % TICKS + 1])
  local out = to_come + math.max(0, arrived - served)
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
    called, out = called + calling, out + calling
  end
  if is_open and called == issued and slot < settled then
    pass_to(settled)
  end

  local function whole(value)
    return string.format('%d', value)
  end
  for i = 1, TICKS do
    absent[i] = whole(absent[i])
  end
  redis.call('HSET', key, 'slot', whole(slot), 'rank', whole(lot), 'here', whole(here), 'issued', whole(issued),
    'called', whole(called), 'arrived', whole(arrived), 'served', whole(served), 'tick', whole(tick), 'dry', whole(dry),
    'absent', table.concat(absent, ' '))
  return slot, lot, (is_open and called == issued and out <= tokens) and 1 or 0
end
