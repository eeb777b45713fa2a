-- What every script here says at its end: one line that a program can read (perf/bench/src/wrk.rs does). A script loads
-- it by
--   dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "") .. "report.lua")
--
-- wrk prints no p99.9 of its own. `refused` are answers of 400 and above, `broken` what was not answered at all.

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    'report: {"requests":%d,"duration_us":%d,"refused":%d,"broken":%d,"p50_us":%d,"p99_us":%d,"p999_us":%d}',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
