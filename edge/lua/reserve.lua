#!lua
-- Takes units for up to 64 orders, of one product or several. Reads and decides everything first, then writes.
--
-- KEYS  for each group: stock, sale, outbox, claims, users, returned, then n record keys
--       (idempotency:{P}:<orderId>). On a cluster: one group a call.
-- ARGV  1 number of groups, 2 TTL of a record in seconds, 3 most undelivered orders of a product;
--       then for each group: n, sale id, generation, partition, then n times: reservation id, quantity,
--       tail = "<orderId> <userId> <timestamp in ms>".
--
-- Reply: a flat array of strings. For each group in turn one head:
--   A<entry id>   all n accepted, in this outbox entry; nothing follows
--   M<entry id>   n codes follow; the id is empty where none was accepted
--   S<reason>     suspended (see trust.lua); nothing follows, nothing changed
--   G             the sale's generation is another than the caller's; nothing follows, nothing changed
--   U             no such sale: none of the product's keys is there (a caller that knew it believes it lost)
--   F             every order was refused because the outbox holds too many undelivered orders; nothing follows
-- Codes, one an order; the first that fits:
--   R<reservation id> <quantity> <1|0> <entry id>   a record of this sale stands: 1 delivered (its entry has left the
--                 outbox), 0 pending. The reservation is the caller's own where it repeats a call, or an earlier
--                 order's of this very batch.
--   N             no record, and the sale id is another than the caller's: nothing is decided about this order
--   C             closed
--   O<ms>         not yet open; opens in so many milliseconds, on Redis' clock
--   0             sold out
--   L             over the sale's limit per user
--   I<available>  fewer left than asked
--   F             the outbox is full
--   +             accepted
--
-- A record is "<reservation id> <quantity> <generation> <entry id> <sale id>". It counts only where sale and
-- generation are the sale's, or those the previous sale ended with; otherwise it is as good as none, and overwritten.
-- An outbox entry: h = "<partition> <sale id> <sale total> <generation> <n>", o = n lines, joined by a line feed,
-- "<reservation id> <quantity> <orderId> <userId> <timestamp>", c = orders of the sale's outbox up to and including it.

local ttl, orders_max = ARGV[2], tonumber(ARGV[3])
local reply, said = {}, 0

-- What stands in `record`, as an R code, or nil where it counts as none.
local function replay(record, outbox, sale_id, generation)
  local reservation, quantity, made_in, entry, of = string.match(record, '^(%S+) (%d+) (%d+) (%S+) (%d+)$')
  if not reservation or made_in ~= generation or of ~= sale_id then
    return nil
  end
  local delivered = #redis.call('XRANGE', outbox, entry, entry) == 0 and '1 ' or '0 '
  return 'R' .. reservation .. ' ' .. quantity .. ' ' .. delivered .. entry
end

-- One group, whose keys begin behind KEYS[k] and whose arguments begin at ARGV[a].
local function reserve(k, a, n)
  local stock_key, sale_key, outbox = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local claims, users, returned = KEYS[k + 4], KEYS[k + 5], KEYS[k + 6]
  said = said + 1
  local head = said

  local sale, reason = believe(sale_key, stock_key, outbox, claims, users, returned)
  if not sale then
    reply[head] = reason == 'unknown' and 'U' or 'S' .. reason
    return
  end
  local stock = units(sale, stock_key)
  if not stock then
    reply[head] = 'Sstock'
    return
  end
  local entries
  reason, entries = broken(sale, outbox, claims, users, returned)
  if reason then
    reply[head] = 'S' .. reason
    return
  end
  local same_sale = ARGV[a + 1] == sale[1]
  local record_sale, record_generation = sale[1], sale[2]
  if not same_sale then
    local previous = redis.call('HMGET', sale_key, 'prev_id', 'prev_gen')
    record_sale, record_generation = previous[1] == ARGV[a + 1] and ARGV[a + 1], previous[2]
  elseif ARGV[a + 2] ~= sale[2] then
    reply[head] = 'G'
    return
  end

  local records = redis.call('MGET', unpack(KEYS, k + 7, k + 6 + n))
  local per_user, taken, user_of = number(sale[7]) or 0, nil, nil
  if per_user > 0 then
    taken, user_of = {}, {}
    for i = 1, n do
      user_of[i] = string.match(ARGV[a + 3 * i + 3], '^%S+ (%S+) ')
    end
    local counts = redis.call('HMGET', users, unpack(user_of))
    for i = 1, n do
      taken[user_of[i]] = tonumber(counts[i] or 0)
    end
  end
  -- What every order without a record is told, whoever sends it.
  local barred = nil
  if not same_sale then
    barred = 'N'
  elseif sale[3] == 'closed' then
    barred = 'C'
  else
    local left = opens_in(sale)
    barred = left and 'O' .. left
  end
  local room = n
  if 64 * entries + n > orders_max then
    room = orders_max - undelivered(outbox, entries, tonumber(sale[6]))
  end

  local codes, lines, accepted, by_key = {}, {}, {}, {}
  local m, left, full = 0, stock, 0
  for i = 1, n do
    local key, quantity_text = KEYS[k + 6 + i], ARGV[a + 3 * i + 2]
    local quantity = tonumber(quantity_text)
    local code = by_key[key]
    if not code and records[i] and record_sale then
      code = replay(records[i], outbox, record_sale, record_generation)
    end
    if code then
      codes[i] = code
    elseif barred then
      codes[i] = barred
    elseif left == 0 then
      codes[i] = '0'
    elseif taken and taken[user_of[i]] + quantity > per_user then
      codes[i] = 'L'
    elseif quantity > left then
      codes[i] = 'I' .. string.format('%d', left)
    elseif m >= room then
      codes[i] = 'F'
      full = full + 1
    else
      m = m + 1
      left = left - quantity
      lines[m] = ARGV[a + 3 * i + 1] .. ' ' .. quantity_text .. ' ' .. ARGV[a + 3 * i + 3]
      accepted[m] = i
      codes[i] = '+'
      by_key[key] = i -- the index stands for an R code whose entry id is not known yet
      if taken then
        taken[user_of[i]] = taken[user_of[i]] + quantity
      end
    end
  end

  if full == n then
    reply[head] = 'F'
    return
  end
  local entry = ''
  if m > 0 then
    -- From here on writes. XADD goes first: should it fail after all, nothing else has happened.
    local orders = string.format('%d', sale[6] + m)
    local added = redis.pcall('XADD', outbox, 'NOMKSTREAM', '*',
      'h', ARGV[a + 3] .. ' ' .. sale[1] .. ' ' .. sale[5] .. ' ' .. sale[2] .. ' ' .. m,
      'o', table.concat(lines, '\n'), 'c', orders)
    if type(added) ~= 'string' then
      reply[head] = 'Soutbox'
      return
    end
    entry = added
    redis.call('DECRBY', stock_key, string.format('%d', stock - left))
    redis.call('HSET', sale_key, 'orders', orders)
    if taken then
      local counts, c = {}, 0
      for j = 1, m do
        local user = user_of[accepted[j]]
        counts[c + 1], counts[c + 2] = user, string.format('%d', taken[user])
        c = c + 2
      end
      redis.call('HSET', users, unpack(counts))
    end
    local suffix = ' ' .. sale[2] .. ' ' .. entry .. ' ' .. sale[1]
    for j = 1, m do
      local i = accepted[j]
      redis.call('SET', KEYS[k + 6 + i], ARGV[a + 3 * i + 1] .. ' ' .. ARGV[a + 3 * i + 2] .. suffix, 'EX', ttl)
    end
    if m == n then
      reply[head] = 'A' .. entry
      return
    end
  end
  reply[head] = 'M' .. entry
  for i = 1, n do
    local code = codes[i]
    if type(code) == 'number' then
      code = 'R' .. ARGV[a + 3 * code + 1] .. ' ' .. ARGV[a + 3 * code + 2] .. ' 0 ' .. entry
    end
    reply[said + i] = code
  end
  said = said + n
end

local k, a = 0, 4
for _ = 1, tonumber(ARGV[1]) do
  local n = tonumber(ARGV[a])
  reserve(k, a, n)
  k = k + 6 + n
  a = a + 4 + 3 * n
end
return reply
