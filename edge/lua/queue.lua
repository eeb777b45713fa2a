#!lua flags=no-writes
-- How a sale stands, and the line of its fair queue where it has one, for `GET /queue`. Changes nothing.
--
-- KEYS  1 queue, 2 sale, 3 stock
-- ARGV  1 sale id, 2 generation, the latest that the caller has seen ("" where it has seen none; may be left out)
--
-- Reply, strings: 1 state: open, scheduled, sold_out, closed; 2 sale id, 3 seed, 4 rate, 5 units left, 6 now, 7 when the
-- sale opens, both in µs; and where it has a fair queue 8 the watermark's slot, 9 its rank, and from 10 on how many places
-- were given in each slot from the watermark's on, up to the last in which any was. S: suspended, or behind what the
-- caller has seen; U: no such sale.

local queue_key, sale_key, stock_key = KEYS[1], KEYS[2], KEYS[3]
told = true
local sale, reason = believe(sale_key, queue_key, stock_key)
if not sale then
  return {reason == 'unknown' and 'U' or 'S'}
end
if is_behind(sale, ARGV[1], ARGV[2]) then
  return {'S'}
end
local options = redis.call('HMGET', sale_key, 'queue', 'seed', 'rate', 'opened_at')
local stock = units(sale, stock_key)
if not stock then
  return {'S'}
end

local phase = phase_of(sale, stock)
local time = redis.call('TIME')
local reply = {phase, sale[1], options[2], options[3], string.format('%d', stock), time[1] .. string.format('%06d', time[2]),
  string.format('%d', opens_us(sale, options[4]))}
if options[1] ~= 'fair' then
  return reply
end

local fields = redis.pcall('HGETALL', queue_key)
if fields.err then
  return {'S'}
end
local line, counts = {}, {}
for i = 1, #fields, 2 do
  local slot = string.match(fields[i], '^s(%d+)$')
  if slot then
    counts[tonumber(slot)] = fields[i + 1]
  else
    line[fields[i]] = fields[i + 1]
  end
end
local first = number(line.slot)
if line['.'] ~= sale[1] or not (first and number(line.rank)) then
  return {'S'}
end
reply[8], reply[9] = line.slot, line.rank
local last = first - 1
for slot in pairs(counts) do
  last = math.max(last, slot)
end
for slot = first, last do
  reply[#reply + 1] = counts[slot] or '0'
end
return reply
