#!lua
-- Whether Redis would let an order through, asked on every connection all the time. It has no flag and writes nothing, so
-- whatever refuses a sale's writes refuses it, too: a full memory, a replica, a snapshot that failed, too few replicas.
--
-- KEYS  none
-- ARGV  1 "1" where the caller also wants to know whether its user may do all that the scripts do, else "0"
--
-- Reply, strings: Redis' time in µs since the epoch ("" where its user may not ask); then each command that its user is not permitted,
-- and its key, of a product that is not there. What does not work without it stands in edge/src/redis/rights.rs.

local reply = {''}

local function may(...)
  if redis.acl_check_cmd and not redis.acl_check_cmd(...) then
    local command, key = ...
    reply[#reply + 1] = command .. (key and ' ' .. key or '')
  end
end

if ARGV[1] == '1' then
  local of = 'product:{flux-probe}:'
  local stock, sale, outbox, claims, users = of .. 'stock', of .. 'sale', of .. 'outbox', of .. 'claims', of .. 'users'
  local returned, rate, sales, queue = of .. 'returned', of .. 'rate', of .. 'sales', of .. 'queue'
  local records, registry = 'idempotency:{flux-probe}:1', 'flux:products'
  may('INFO', 'replication')
  may('TIME')
  may('GET', stock)
  may('DECRBY', stock, '1')
  may('EXISTS', sale)
  may('HMGET', sale, 'id')
  may('HSET', sale, 'orders', '1')
  may('XLEN', outbox)
  may('XRANGE', outbox, '-', '+')
  may('XREVRANGE', outbox, '+', '-')
  may('XADD', outbox, '*', 'h', '')
  may('XDEL', outbox, '1-1')
  may('HGET', claims, '.')
  may('HGET', users, '.')
  may('HSET', users, 'u', '1')
  may('SISMEMBER', returned, '.')
  may('HMGET', rate, '.')
  may('HSET', rate, 'at', '1')
  may('HGET', sales, '.')
  may('HMGET', records, '.')
  may('HSET', records, 'o', '1')
  may('HGET', records, '.')
  may('HLEN', records)
  may('UNLINK', records)
  may('EXISTS', registry)
  may('SSCAN', registry, '0')
  may('SADD', registry, 'p')
  may('SREM', registry, 'p')
  may('SET', stock, '1')
  may('UNLINK', sale)
  may('XGROUP', 'CREATE', outbox, '.', '$')
  may('XGROUP', 'DESTROY', outbox, '.')
  may('HSET', claims, '.', '1')
  may('HLEN', claims)
  may('HDEL', claims, 'e')
  may('HRANDFIELD', claims, '1')
  may('DEL', claims)
  may('SADD', returned, '.')
  may('SREM', returned, '.')
  may('HMGET', queue, '.')
  may('HSET', queue, '.', '1')
  may('HINCRBY', queue, 's0', '1')
  may('HGETALL', queue)
end
local time = redis.pcall('TIME')
if not time.err then
  reply[1] = string.format('%d', time[1] * 1000000 + time[2])
end
return reply
