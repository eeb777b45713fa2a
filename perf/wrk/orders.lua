-- What the scripts share that place orders. A script loads it as it loads report.lua.

-- Keys must differ between runs too, or the second run measures replays.
function run_name()
  local random = assert(io.open("/dev/urandom", "rb"))
  local bytes = random:read(6)
  random:close()
  return (bytes:gsub(".", function(byte) return string.format("%02x", byte:byte()) end))
end

-- An order up to its key. Requests are put together by hand: wrk.format would build the same head anew each time.
-- `connection` is what it says of the connection, if anything.
function order_head(connection)
  return table.concat({
    "POST /order HTTP/1.1",
    "host: " .. wrk.host .. (wrk.port and ":" .. wrk.port or ""),
    (connection and "connection: " .. connection .. "\r\n" or "") .. "content-type: application/json",
    "x-idempotency-key: ",
  }, "\r\n")
end
