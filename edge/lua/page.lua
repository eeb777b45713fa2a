#!lua flags=no-writes
-- One page of the registry, into which any client of Redis may have put anything: whatever it holds, the reply is
-- short.
--
-- KEYS  1 registry
-- ARGV  1 cursor ("0" at first), 2 how many names a page should have, 3 how many at most, 4 the longest name in bytes
--
-- Reply, strings: the next cursor ("0": the scan is complete), then the names.

local page = redis.call('SSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local most, longest = tonumber(ARGV[3]), tonumber(ARGV[4])
local reply = {page[1]}
for _, name in ipairs(page[2]) do
  if #name <= longest and #reply <= most then
    reply[#reply + 1] = name
  end
end
return reply
