-- The cheapest refusal: orders over the rate limit, answered 302 from the edge's memory.
--
--   curl --json '{"productId":"trickle","quantity":1000000000,"rate":1}' http://127.0.0.1:3001/init
--   wrk -t2 -c256 -d10s --latency -s perf/wrk/redirect.lua http://127.0.0.1:3000 -- [product] [pipelined] [close]
--
-- Nearly every request is over one order a second, so the key need not be unique: no key is looked up for a 302.
-- `pipelined` (1) is how many requests leave in one write; with `close` each has a connection of its own. wrk calls every answer of 400 and above an error; a 302 is none.

dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "") .. "report.lua")

function init(arguments)
  local product = arguments[1] or "trickle"
  local pipelined = tonumber(arguments[2] or 1)
  local one = wrk.format("POST", "/order", {
    ["content-type"] = "application/json",
    ["x-idempotency-key"] = "trickle",
    ["connection"] = arguments[3],
  }, string.format('{"productId":"%s","userId":"trickle","quantity":1}', product))
  requests = one:rep(pipelined)
end

function request()
  return requests
end
