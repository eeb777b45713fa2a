#!lua
-- Takes names out of the registry that are not needed there: no sale stands behind them, or one that is long over. The
-- sale's keys stay, but for its records, whose life is over too; an edge that is asked for the product finds it by its
-- name.
--
-- KEYS  1 registry, then for each name: stock, sale, outbox, claims, users, returned, rate, sales, queue (on a cluster the
--       registry is in another slot: there this must be two calls)
-- ARGV  1 ms for which a sale must have been closed, 2 the caller's topic, then the names in the order of their keys
--
-- Reply: for each name G: it is not in the registry (any more); C: it stays, its sale is over, but not for so long; K: it
--   stays, for all else. It goes only where this Redis is a master and
--   none of the product's keys is there, or the sale is believed (trust.lua), closed for so long by Redis' clock, with an
--   outbox that is there and empty. What may still deliver, what is suspended and what is of another topic stays.
--   The registry itself never vanishes by this: its member `.`, which is no product, is left.

local registry = KEYS[1]
local time = redis.call('TIME')
local now, span = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[1])
local reply, gone = {}, {}

-- What is replied for the product whose keys begin behind KEYS[k].
local function judge(k)
  local sale_key, outbox = KEYS[k + 2], KEYS[k + 3]
  told = true
  local sale, reason = believe(sale_key, KEYS[k + 1], unpack(KEYS, k + 3, k + 9))
  if reason == 'unknown' then
    return replid and 'G' or 'K'
  end
  if not sale or sale[3] ~= 'closed' or is_foreign(redis.call('HGET', sale_key, 'topic'), ARGV[2]) then
    return 'K'
  end
  if not units(sale, KEYS[k + 1]) or broken(sale, unpack(KEYS, k + 3, k + 9)) or redis.call('XLEN', outbox) > 0 then
    return 'K'
  end
  local notes = redis.call('HMGET', sale_key, 'closed_at', 'prev_id')
  local closed_at = number(notes[1])
  if not closed_at or closed_at > now or now - closed_at < span then
    return 'C'
  end
  -- No edge will ask to retire them (retire.lua).
  local records = records_of(sale_key, sale[1])
  if redis.call('HLEN', records) > 1 then
    redis.call('UNLINK', records)
    redis.call('HSET', records, '.', sale[1] .. ' ' .. sale[2])
  end
  if notes[2] then
    redis.call('UNLINK', records_of(sale_key, notes[2]))
  end
  return 'G'
end

for i = 3, #ARGV do
  reply[i - 2] = judge(9 * (i - 3) + 1)
  if reply[i - 2] == 'G' then
    gone[#gone + 1] = ARGV[i]
  end
end
if #gone > 0 then
  redis.call('SADD', registry, '.')
  redis.call('SREM', registry, unpack(gone))
end
return reply
