#!lua
-- Grants a core tokens of the sale's bucket for a short while, and where there is a fair queue moves its watermark.
--
-- KEYS  1 rate, 2 sale, 3 stock; with a fair queue also 4 queue
-- ARGV  1 tokens wanted, 2 longest life in µs that the caller will use (200000 and more: all that is allowed);
--       3 sale id, 4 generation, the latest that the caller has seen ("" where it has seen none), with its fence (trust.lua);
--       with a fair queue also what the core has counted since its last call: 5 how many were served; 6 of how many
--       cohorts some have come, and for each the tick and how many; for each slot in which places were given the slot and
--       how many (fair_queue.lua)
--
-- Reply {granted, life in µs, µs until the next token is due (0: there is one), state}. State is one letter:
--   O open, C closed, N not yet open, 0 sold out (tokens are granted for all four: a replay takes one too);
--   S suspended, or behind what the caller has seen, U no such sale (none of the keys is there): granted is -1, and
--   nothing was counted.
-- With a fair queue also {…, now, when the sale opens (both in µs), the watermark's slot, its rank, 1 where nobody waits,
-- how many places were given and how many visitors called over all time, the tick, and for each of the last 9 ticks the
-- watermark's slot and rank when it began, at the place tick modulo 9}.
-- The life counts from before the caller sent the request. A sale of rate 0 grants what is wanted.
--
-- Over any t seconds no more than rate·t + burst tokens can be used: a lease lives L = min(200 ms, burst / (2·rate)),
-- and the bucket holds only burst − rate·L, so what leases carry into the span is made up for. Time is Redis' own.
-- Tokens are kept in millionths: what accrues in a microsecond at `rate` is then a whole number, and nothing is rounded.

local rate_key, sale_key, stock_key, queue_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
told = ARGV[4]
local sale, reason = believe(sale_key, unpack(KEYS))
if not sale then
  return {-1, 0, 0, reason == 'unknown' and 'U' or 'S'}
end
if is_behind(sale, ARGV[3], ARGV[4]) then
  return {-1, 0, 0, 'S'}
end
local stock = units(sale, stock_key)
local bucket = redis.pcall('HMGET', rate_key, '.', 'tokens', 'at')
local options = redis.call('HMGET', sale_key, 'rate', 'burst', 'opened_at')
local rate, burst = number(options[1]), number(options[2])
local whole = bucket[1] == sale[1] .. ' ' .. sale[2] and number(bucket[2]) and number(bucket[3])
local line = queue_key and read_line(queue_key, sale)
if not (stock and rate and burst and whole) or (queue_key and not line) then
  return {-1, 0, 0, 'S'}
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local phase = phase_of(sale, stock)
local STATES = {open = 'O', closed = 'C', scheduled = 'N', sold_out = '0'}
local wanted, life_wanted = tonumber(ARGV[1]), tonumber(ARGV[2])

-- The reply, with the line's where there is one. `tokens`: whole ones that are left.
local function reply(granted, life, due, tokens)
  local lease = {granted, math.min(life, life_wanted), due, STATES[phase]}
  if not queue_key then
    return lease
  end
  local opens = opens_us(sale, options[3])
  local is_open = phase == 'open' or phase == 'sold_out'
  local slot, rank, free, issued, called, tick, cohorts =
    move_line(queue_key, line, rate, opens, now, tokens, stock, is_open, 5)
  lease[5], lease[6], lease[7], lease[8], lease[9] = now, opens, slot, rank, free
  lease[10], lease[11], lease[12] = issued, called, tick
  for at = 0, #cohorts - 4, 4 do
    lease[#lease + 1], lease[#lease + 2] = cohorts[at + 1], cohorts[at + 2]
  end
  return lease
end

if rate == 0 then
  return reply(wanted, 200000, 0, 0)
end

local life = math.floor(math.min(200000, burst * 1000000 / (2 * rate)))
local capacity = burst * 1000000 - rate * life
local tokens, at = tonumber(bucket[2]), tonumber(bucket[3])
if now > at then
  -- Past the time that fills the bucket the product would only lose precision.
  local passed = math.min(now - at, math.ceil(capacity / rate))
  tokens = tokens + rate * passed
end
tokens = math.min(tokens, capacity)
local granted = math.min(wanted, math.floor(tokens / 1000000))
tokens = tokens - granted * 1000000
-- A clock that was set back adds nothing and starts again from where it now stands.
redis.call('HSET', rate_key, 'tokens', string.format('%d', tokens), 'at', string.format('%d', now))
local due = 0
if tokens < 1000000 then
  due = math.ceil((1000000 - tokens) / rate)
end
return reply(granted, life, due, math.floor(tokens / 1000000))
