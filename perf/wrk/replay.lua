-- Accepted orders asked for again with the same key: each is answered 200 from its record, and sells nothing.
--
--   wrk -t2 -c256 -d10s --latency -s perf/wrk/replay.lua http://127.0.0.1:3000 -- [product] [keys]
--
-- Open the sale as for order.lua. The first time round places the orders (users and keys crowd-u0, crowd-k0 and so on, as
-- `flux-lab crowd --name crowd` names them); measure the second. Each thread begins at another key, so that two requests
-- for one order seldom meet.

local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or ""
dofile(folder .. "report.lua")
dofile(folder .. "orders.lua")

local started = 0

function setup(thread)
  started = started + 1
  thread:set("number", started)
end

function init(arguments)
  local product = arguments[1] or "bench"
  keys = tonumber(arguments[2] or 20000)
  head = order_head() .. "crowd-k"
  body_before = string.format('{"productId":"%s","quantity":1,"userId":"crowd-u', product)
  -- Far apart for any number of threads: the golden section of the ring.
  at = math.floor(number * 0.618034 * keys) % keys
end

function request()
  at = (at + 1) % keys
  local body = body_before .. at .. '"}'
  return head .. at .. "\r\ncontent-length: " .. #body .. "\r\n\r\n" .. body
end
