-- Orders of many products, drawn by Zipf's law (product n is asked for 1/n as often as product 1), each with a key and a
-- user of its own.
--
--   wrk -t2 -c256 -d10s --latency -s perf/wrk/zipf.lua http://127.0.0.1:3000 -- [prefix] [products]
--
-- Open a sale of each first: zipf-1, zipf-2 and so on, large enough to last and without a limit. With one product it
-- costs wrk the same, so the two can be compared.

local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or ""
dofile(folder .. "report.lua")
dofile(folder .. "orders.lua")

-- Draws prepared ahead: a search among the sums for each request would slow wrk.
local DRAWS = 65536

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

local function draws(products)
  local sums, sum = {}, 0
  for product = 1, products do
    sum = sum + 1 / product
    sums[product] = sum
  end
  math.randomseed(number)
  local drawn = {}
  for draw = 1, DRAWS do
    local wanted, low, high = math.random() * sum, 1, products
    while low < high do
      local middle = math.floor((low + high) / 2)
      if sums[middle] < wanted then low = middle + 1 else high = middle end
    end
    drawn[draw] = low
  end
  return drawn
end

function init(arguments)
  local product = arguments[1] or "zipf-"
  drawn = draws(tonumber(arguments[2] or 1000))
  prefix = string.format("%s-%d-", run_name(), number)
  count = 0
  head = order_head()
  body_before = '{"quantity":1,"productId":"' .. product
end

function request()
  count = count + 1
  local name = prefix .. count
  local body = body_before .. drawn[count % DRAWS + 1] .. '","userId":"u-' .. name .. '"}'
  return head .. name .. "\r\ncontent-length: " .. #body .. "\r\n\r\n" .. body
end
