-- wrk: every request is one statement as POST /query. wrk … -s http_load.lua URL -- WORK
-- The request is put together here: wrk.format would take several times as long, on the cores of what is measured.
local statements = dofile("statements.lua")
local make, head

function init(args)
  math.randomseed(os.time())
  make = statements(math.random)[args[1]]
  head = "POST " .. wrk.path .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"]
    .. "\r\nContent-Type: application/json\r\nContent-Length: "
end

function request()
  local body = '{"query": "' .. make() .. '"}'
  return head .. #body .. "\r\n\r\n" .. body
end

-- In microseconds, exact; what wrk prints for people is rounded.
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "not_200": %d, "lost": %d, "late": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write, e.timeout
  ))
end
