#!lua
-- Takes units for up to 64 orders, of one product or several. Reads and decides everything of a group first, then writes.
-- What cannot be read stops its own group, with nothing changed in it, and no other.
--
-- KEYS  for each group: stock, sale, outbox, claims, users, returned, records (idempotency:{P}:<the group's sale id>).
--       On a cluster: one group a call.
-- ARGV  1 number of groups, 2 most undelivered orders of a product;
--       then for each group: n, sale id, generation with its fence (trust.lua), partition, the quantity of each of its orders
--       ("" where they differ or one was called by its place), then n times: head = "<reservation id> <quantity> ", orderId, tail = " <userId>
--       <timestamp in ms>" and a line feed, which the last one lacks; behind them, where it was "", n quantities, or where
--       an order of a fair sale was called by its place "<quantity> <the place's slot>". A line of the outbox is head,
--       orderId and tail, a record head and entry id.
--
-- Reply: a flat array of strings. For each group in turn one head:
--   A<entry id>   all n accepted, in this outbox entry; nothing follows
--   M<entry id>   n codes follow; the id is empty where none was accepted
--   S<reason>     suspended (see trust.lua), or "read": something of it cannot be read; nothing follows, nothing changed
--   G             the sale's generation is another than the caller's; nothing follows, nothing changed
--   U             no such sale: none of the product's keys is there (a caller that knew it believes it lost)
--   F             every order was refused because the outbox holds too many undelivered orders; nothing follows
-- Codes, one an order; the first that fits:
--   R<reservation id> <quantity> <1|0> <entry id>   a record of this sale stands: 1 delivered (its entry has left the
--                 outbox), 0 pending. The reservation is the caller's own where it repeats a call, or an earlier
--                 order's of this very batch.
--   N             no record of the caller's own reservation, and the sale id is another than the caller's: nothing is decided
--                 about this order, its key is good for another order of the sale that is
--   C             closed
--   O<ms>         not yet open; opens in so many milliseconds, on Redis' clock
--   0             sold out
--   T<slot>       the place by which it was called is used up, and so is every place of this user up to that slot: they were
--                 served since it was given
--   L             over the sale's limit per user
--   I<available>  fewer left than asked
--   F             the outbox is full
--   +             accepted
--
-- The records of a sale are one hash: its mark, and by orderId "<reservation id> <quantity> <entry id>". Those of the
-- sale before count for a call that is repeated after it was replaced, where their mark names the generation it ended
-- with. A user who is served in a fair sale uses up all places they were given until then: by getting units, or, where
-- they came by a place, by being told that they are over the limit or that too few are left. The latter are noted for
-- so many users of a sale (below): without a unit nothing else bounds them.
--
-- An outbox entry: h = "<partition> <sale id> <sale total> <generation> <n>", o = n lines, joined by a line feed,
-- "<reservation id> <quantity> <orderId> <userId> <timestamp>", c = orders of the sale's outbox up to and including it.

-- Users served without a unit who are noted: some 10 MiB.
local REFUSED_MAX = 100000

local orders_max = tonumber(ARGV[2])
local reply, said = {}, 0

-- What stands in `record`, as an R code; nil where it is none of ours. An error, which stops the group, where its user may not
-- look: the order would be taken for a new one.
local function replay(record, outbox)
  local made, entry = string.match(record, '^(%S+ %d+ )(%d+%-%d+)$')
  local found = made and redis.pcall('XRANGE', outbox, entry, entry)
  if not found or found.err then
    return made and not permits('XRANGE', outbox, entry, entry) and error('permission') or nil
  end
  return 'R' .. made .. (#found == 0 and '1 ' or '0 ') .. entry
end

-- Whether the user may make all writes of an acceptance, and of a note of who was served.
local function may_write(k, with_users, with_turns)
  return permits('XADD', KEYS[k + 3], '*', 'h', '') and permits('DECRBY', KEYS[k + 1], '1')
    and permits('HSET', KEYS[k + 2], 'orders', '1') and permits('HSET', KEYS[k + 7], '.', '')
    and (not with_users or permits('HSET', KEYS[k + 5], '.', ''))
    and (not with_turns or permits('HSET', turns_of(KEYS[k + 2]), '.', ''))
end

-- Puts m orders into the outbox; the entry's id, or nil where that cannot be.
local function put(outbox, a, sale, m, lines)
  local added = redis.pcall('XADD', outbox, 'NOMKSTREAM', '*',
    'h', ARGV[a + 3] .. ' ' .. sale[1] .. ' ' .. sale[5] .. ' ' .. sale[2] .. ' ' .. m,
    'o', lines, 'c', string.format('%d', sale[6] + m))
  return type(added) == 'string' and added or nil
end

-- The lines of all n orders of a group: they stand in its arguments as they stand in an entry.
local function all_lines(a, n)
  return table.concat(ARGV, '', a + 5, a + 4 + 3 * n)
end

-- Carries out what is the rule: all of a group get what they ask for, of a sale that counts no user. `taken`: their units.
local function accept_all(head, k, a, n, sale, ids, taken)
  if not may_write(k) then
    reply[head] = 'Spermission'
    return
  end
  local entry = put(KEYS[k + 3], a, sale, n, all_lines(a, n))
  if not entry then
    reply[head] = 'Soutbox'
    return
  end
  redis.call('DECRBY', KEYS[k + 1], string.format('%d', taken))
  redis.call('HSET', KEYS[k + 2], 'orders', string.format('%d', sale[6] + n))
  local fields, c, b = {}, 1, a + 5
  for i = 1, n do
    fields[c] = ids[i]
    fields[c + 1] = ARGV[b] .. entry
    c, b = c + 2, b + 3
  end
  redis.call('HSET', KEYS[k + 7], unpack(fields))
  reply[head] = 'A' .. entry
end

-- One group, whose keys begin behind KEYS[k] and whose arguments begin at ARGV[a]; those of order i at ARGV[a + 2 + 3 * i].
-- Changes nothing: what comes back, called with the same and what comes behind it, carries out what was decided. Nothing
-- comes back where the head says all.
local function decide(head, k, a, n)
  local stock_key, sale_key, outbox = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local claims, users, returned, records = KEYS[k + 4], KEYS[k + 5], KEYS[k + 6], KEYS[k + 7]
  told = ARGV[a + 2]
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
  local same_sale, mark = ARGV[a + 1] == sale[1], sale[1] .. ' ' .. sale[2]
  if is_behind(sale, ARGV[a + 1], ARGV[a + 2]) then
    reply[head] = 'Sbehind'
    return
  end
  if not same_sale then
    local previous = redis.call('HMGET', sale_key, 'prev_id', 'prev_gen')
    mark = previous[1] == ARGV[a + 1] and previous[2] and previous[1] .. ' ' .. previous[2]
  elseif told ~= sale[2] and string.match(told, '^%d*') ~= sale[2] then
    reply[head] = 'G'
    return
  end

  local ids = {}
  for i = 1, n do
    ids[i] = ARGV[a + 3 * i + 3]
  end
  -- found[1] is the mark.
  local found = redis.pcall('HMGET', records, '.', unpack(ids))
  local counts = found[1] and found[1] == mark
  if same_sale and not counts then
    reply[head] = 'Srecords'
    return
  end
  local per_user, taken, user_of = number(sale[7]) or 0, nil, nil
  local is_fair = same_sale and sale[9] == 'fair'
  if per_user > 0 or is_fair then
    user_of = {}
    for i = 1, n do
      user_of[i] = string.match(ARGV[a + 3 * i + 4], '^ (%S+) ')
    end
  end
  if per_user > 0 then
    taken = {}
    local units_of = redis.call('HMGET', users, unpack(user_of))
    for i = 1, n do
      taken[user_of[i]] = number(units_of[i] or '0')
      if not taken[user_of[i]] then
        reply[head] = 'Susers'
        return
      end
    end
  end
  -- By user the slot up to which their places are used up (-1: none was), the slot of this moment, what is to be noted, and for
  -- how many more users served without a unit that may be.
  local turns, second, notes, refusals = nil, nil, nil, 0
  if is_fair then
    local noted = redis.pcall('HMGET', turns_of(sale_key), '.', '..', unpack(user_of))
    if noted[1] ~= sale[1] or not number(noted[2]) then
      reply[head] = 'Sturns'
      return
    end
    turns, notes, refusals = {}, {}, REFUSED_MAX - tonumber(noted[2])
    for i = 1, n do
      turns[user_of[i]] = tonumber(noted[i + 2] or -1)
    end
    local time = redis.call('TIME')
    second = slot_at(time[1] * 1000000 + time[2], opens_us(sale, redis.call('HGET', sale_key, 'opened_at')))
  end
  -- What every order without a record is told, whichever user sends it.
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

  local of_each = tonumber(ARGV[a + 4])
  local all = of_each and of_each * n or math.huge
  if not (user_of or barred) and n <= room and stock > 0 and all <= stock then
    local is_known, seen = false, {}
    for i = 1, n do
      local id = ids[i]
      is_known = is_known or found[i + 1] or seen[id]
      seen[id] = true
    end
    if not is_known then
      return accept_all, sale, ids, all
    end
  end

  local codes, accepted, by_id = {}, {}, {}
  local m, left, full = 0, stock, 0
  for i = 1, n do
    local b, id = a + 2 + 3 * i, ids[i]
    local quantity, slot = of_each, nil
    if not quantity then
      local asked = ARGV[a + 4 + 3 * n + i]
      quantity = tonumber(asked)
      if not quantity then
        quantity, slot = string.match(asked, '^(%d+) (%d+)$')
        quantity, slot = tonumber(quantity), tonumber(slot)
      end
    end
    local code = by_id[id]
    if not code and found[i + 1] and counts then
      code = replay(found[i + 1], outbox)
      -- A key is good for one sale: only a caller that repeats its own reservation is told of the sale before.
      if code and not same_sale and string.sub(found[i + 1], 1, #ARGV[b]) ~= ARGV[b] then
        code = nil
      end
    end
    if code then
      codes[i] = code
    elseif barred then
      codes[i] = barred
    elseif left == 0 then
      codes[i] = '0'
    elseif slot and turns and turns[user_of[i]] >= slot then
      codes[i] = 'T' .. string.format('%d', turns[user_of[i]])
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
      accepted[m] = i
      codes[i] = '+'
      by_id[id] = i -- the index stands for an R code whose entry id is not known yet
      if taken then
        taken[user_of[i]] = taken[user_of[i]] + quantity
      end
    end
    local served = turns and not code and codes[i] or ''
    if served == '+' or (slot and string.find(served, '^[LI]')) then
      local user = user_of[i]
      local is_new = served ~= '+' and turns[user] < 0
      if not is_new or refusals > 0 then
        refusals = refusals - (is_new and 1 or 0)
        turns[user] = second
        notes[#notes + 1], notes[#notes + 2] = user, string.format('%d', second)
      end
    end
  end

  if full == n then
    reply[head] = 'F'
    return
  end
  -- From here on writes.
  return function()
    if (m > 0 or notes and #notes > 0) and not may_write(k, taken, turns) then
      reply[head] = 'Spermission'
      return
    end
    local entry = ''
    if m > 0 then
      -- XADD goes first: should it fail after all, nothing else has happened.
      local lines = nil
      if m == n then
        lines = all_lines(a, n)
      else
        lines = {}
        for j = 1, m do
          local b, p = a + 2 + 3 * accepted[j], 3 * j
          lines[p - 2], lines[p - 1], lines[p] = ARGV[b], ARGV[b + 1], ARGV[b + 2]
        end
        lines = string.gsub(table.concat(lines), '\n$', '')
      end
      entry = put(outbox, a, sale, m, lines)
      if not entry then
        reply[head] = 'Soutbox'
        return
      end
    end
    if notes and #notes > 0 then
      redis.call('HSET', turns_of(sale_key), '..', string.format('%d', REFUSED_MAX - refusals), unpack(notes))
    end
    if m > 0 then
      local orders = string.format('%d', sale[6] + m)
      redis.call('DECRBY', stock_key, string.format('%d', stock - left))
      redis.call('HSET', sale_key, 'orders', orders)
      if taken then
        local units_of, c = {}, 0
        for j = 1, m do
          local user = user_of[accepted[j]]
          units_of[c + 1], units_of[c + 2] = user, string.format('%d', taken[user])
          c = c + 2
        end
        redis.call('HSET', users, unpack(units_of))
      end
      local fields = {}
      for j = 1, m do
        local i = accepted[j]
        fields[2 * j - 1], fields[2 * j] = ids[i], ARGV[a + 2 + 3 * i] .. entry
      end
      redis.call('HSET', records, unpack(fields))
      if m == n then
        reply[head] = 'A' .. entry
        return
      end
    end
    reply[head] = 'M' .. entry
    for i = 1, n do
      local code = codes[i]
      if type(code) == 'number' then
        code = 'R' .. ARGV[a + 2 + 3 * code] .. '0 ' .. entry
      end
      reply[said + i] = code
    end
    said = said + n
  end
end

local k, a = 0, 3
for _ = 1, tonumber(ARGV[1]) do
  local n = tonumber(ARGV[a])
  said = said + 1
  local head = said
  local is_read, write, sale, ids, taken = pcall(decide, head, k, a, n)
  if not is_read then
    -- `replay` says so where its user may not look.
    reply[head] = type(write) == 'string' and string.find(write, 'permission', 1, true) and 'Spermission' or 'Sread'
  elseif write then
    write(head, k, a, n, sale, ids, taken)
  end
  k = k + 7
  a = a + 5 + (ARGV[a + 4] == '' and 4 or 3) * n
end
return reply
