#!lua flags=allow-oom
-- Removes delivered entries and the claims on them. (An edge that delivers what it reserved itself uses a plain XDEL.)
--
-- KEYS  1 outbox, 2 claims
-- ARGV  entry ids, at least one
--
-- Reply: how many entries were still there.

local removed = redis.call('XDEL', KEYS[1], unpack(ARGV))
redis.pcall('HDEL', KEYS[2], unpack(ARGV))
return removed
