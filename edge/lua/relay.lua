#!lua flags=allow-oom
-- Hands out outbox entries that their edge has not delivered in time, each to one relay for a while.
--
-- KEYS  1 outbox, 2 claims, 3 sale
-- ARGV  1 edge id (no blank), 2 horizon in ms, 3 lease in ms (at most 60000), 4 most entries to hand out,
--       and, where the caller wants it, 5 an entry id ("" if none): this and older ones are due whatever time their ids
--       show (the caller has itself seen them stand for the horizon; a clock that was set back makes ids of the future);
--       6 the caller's topic (may be left out): the entries of a sale of another are left alone;
--       7 an entry id behind which the walk goes on ("" from the oldest), 8 most entries of one partition, 9 the sale's
--       generation with its fence (trust.lua; "" where it has none), then for each partition that is to get fewer: it and how
--       many (all may be left out)
--
-- Reply: flat, oldest entry first: id, h, o, id, h, o … Only entries claimed by this very call: one whose claim has not
-- run out is skipped, the caller's own too. Last of all, where the walk has not come to the end, the entry id to go on
-- behind. Empty where the sale is another's or suspended: rebuild then publishes the outbox itself.
--
-- So what others hold, or what its partition cannot take, keeps nothing behind it waiting: a walk that began at the oldest
-- each time would never come further than one call's worth of such entries.

local outbox, claims, sale_key = KEYS[1], KEYS[2], KEYS[3]
told = ARGV[9]
local sale = believe(sale_key)
if not sale or redis.pcall('HGET', claims, '.') ~= sale[1] .. ' ' .. sale[2] then
  return {}
end
if is_foreign(redis.call('HGET', sale_key, 'topic'), ARGV[6]) then
  return {}
end
local entries = redis.pcall('XLEN', outbox)
if type(entries) ~= 'number' then
  return {}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = string.format('%d', math.max(0, now - ARGV[2]))
local seen = ARGV[5] or ''
if seen ~= '' and tonumber(string.match(seen, '^%d+')) >= tonumber(due) then
  due = seen
end
local most, until_ms = tonumber(ARGV[4]), string.format('%d', now + ARGV[3])
local behind = ARGV[7] or ''
local reply, taken, from = {}, 0, behind ~= '' and '(' .. behind or '-'
local share, room = tonumber(ARGV[8] or '') or most, {}
for i = 10, #ARGV - 1, 2 do
  room[ARGV[i]] = tonumber(ARGV[i + 1])
end
local last = nil

-- At most 16 pages a call: entries that others hold do not keep Redis busy for long.
for _ = 1, 16 do
  local page = redis.call('XRANGE', outbox, from, due, 'COUNT', most)
  for _, entry in ipairs(page) do
    local id, fields = entry[1], entry[2]
    local partition = string.match(fields[2] or '', '^%S+') or ''
    local left = room[partition] or share
    local claim = redis.call('HGET', claims, id)
    local claimed_until = claim and tonumber(string.match(claim, ' (%d+)$') or 0) or 0
    -- A claim from before the clock was set back would last too long: no lease is longer than a minute.
    if left > 0 and (claimed_until <= now or claimed_until > now + 60000) then
      room[partition] = left - 1
      redis.call('HSET', claims, id, ARGV[1] .. ' ' .. until_ms)
      reply[3 * taken + 1], reply[3 * taken + 2], reply[3 * taken + 3] = id, fields[2] or '', fields[4] or ''
      taken = taken + 1
    end
    last = id
    if taken == most then
      break
    end
  end
  if taken == most then
    break
  end
  if #page < most then
    last = nil
    break
  end
  from = '(' .. last
end
reply[#reply + 1] = last

-- Claims on entries whose own edge came back and removed them are left over. A few that have run out go with each call:
-- more than it makes, so that they cannot pile up while the outbox is never empty.
if taken > 0 or redis.call('HLEN', claims) > 1 then
  local some = redis.call('HRANDFIELD', claims, 2 * most, 'WITHVALUES')
  for i = 1, #some, 2 do
    local claimed_until = some[i] ~= '.' and tonumber(string.match(some[i + 1], ' (%d+)$') or 0)
    if claimed_until and (claimed_until <= now or claimed_until > now + 60000) then
      redis.call('HDEL', claims, some[i])
    end
  end
end
if entries == 0 and redis.call('HLEN', claims) > 1 then
  redis.call('DEL', claims)
  redis.call('HSET', claims, '.', sale[1] .. ' ' .. sale[2])
end
return reply
