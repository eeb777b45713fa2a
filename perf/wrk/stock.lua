-- A page that polls the stock: answered from the edge's memory, at most 100 ms old.
--
--   wrk -t2 -c256 -d10s --latency -s perf/wrk/stock.lua http://127.0.0.1:3000 -- [product] [pipelined]

dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "") .. "report.lua")

function init(arguments)
  local product = arguments[1] or "bench"
  local pipelined = tonumber(arguments[2] or 1)
  requests = wrk.format("GET", "/stock/" .. product):rep(pipelined)
end

function request()
  return requests
end
