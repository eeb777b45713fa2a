#!lua flags=allow-oom
-- One page of the registry, into which any client of Redis may have put anything: whatever it holds, the reply is
-- short. What can be no product's name is taken out.
--
-- KEYS  1 registry
-- ARGV  1 cursor ("0" at first), 2 how many names a page should have, 3 how many at most, 4 the longest name in bytes
--
-- Reply, strings: the next cursor ("0": the scan is complete), then the names.

local page = redis.call('SSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local most, longest = tonumber(ARGV[3]), tonumber(ARGV[4])
local reply = {page[1]}
for _, name in ipairs(page[2]) do
  if #name > longest or name == '..' or not string.find(name, '^[A-Za-z0-9._:%-]+$') then
    -- Where its user may not, it stays.
    redis.pcall('SREM', KEYS[1], name)
  elseif #reply <= most then
    reply[#reply + 1] = name
  end
end
return reply
