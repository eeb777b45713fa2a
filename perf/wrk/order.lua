-- Orders with a key and a user of their own for every request of every thread: the full path, until the sale is sold out.
--
--   wrk -t2 -c256 -d10s --latency -s perf/wrk/order.lua http://127.0.0.1:3000 -- [product] [quantity] [close]
--
-- With `close` each order has a connection of its own. Open the sale first, large enough to last and without a limit:
--   curl --json '{"productId":"bench","quantity":1000000000,"rate":0}' http://127.0.0.1:3001/init
--
-- STATUS=1 in the environment counts the answers by status. wrk then parses every answer's head in Lua, which costs
-- it about as much as the request: use it to see what happens, not to measure.

local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or ""
dofile(folder .. "report.lua")
dofile(folder .. "orders.lua")

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
  thread:set("number", #threads)
end

function init(arguments)
  local product = arguments[1] or "bench"
  local quantity = tonumber(arguments[2] or 1)
  prefix = string.format("%s-%d-", run_name(), number)
  count = 0
  head = order_head(arguments[3])
  body_before = string.format('{"productId":"%s","quantity":%d,"userId":"u-', product, quantity)
end

function request()
  count = count + 1
  local name = prefix .. count
  local body = body_before .. name .. '"}'
  return head .. name .. "\r\ncontent-length: " .. #body .. "\r\n\r\n" .. body
end

if os.getenv("STATUS") == "1" then
  local report = done
  answers = {}

  function response(status)
    answers[status] = (answers[status] or 0) + 1
  end

  function done(summary, latency)
    local total = {}
    for _, thread in ipairs(threads) do
      for status, n in pairs(thread:get("answers") or {}) do total[status] = (total[status] or 0) + n end
    end
    local statuses = {}
    for status in pairs(total) do statuses[#statuses + 1] = status end
    table.sort(statuses)
    for _, status in ipairs(statuses) do print(string.format("  answered %d: %d", status, total[status])) end
    report(summary, latency)
  end
end
