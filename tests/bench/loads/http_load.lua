-- wrk: every request is one statement as POST /query, or (batch) ten INSERTs in one. wrk … -s http_load.lua URL -- WORK
-- The request is put together here: wrk.format would take several times as long, on the cores of what is measured.
local statements = dofile("statements.lua")
local BATCH = 10
local make, head

local function batch(insert)
  local queries = {}
  for place = 1, BATCH do
    queries[place] = '{"query": "' .. insert() .. '"}'
  end
  return '{"statements": [' .. table.concat(queries, ", ") .. "]}"
end

function init(args)
  math.randomseed(os.time())
  local work = statements(math.random)
  if args[1] == "batch" then
    make = function() return batch(work.insert) end
  else
    make = function() return '{"query": "' .. work[args[1]]() .. '"}' end
  end
  head = "POST " .. wrk.path .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"]
    .. "\r\nContent-Type: application/json\r\nContent-Length: "
end

function request()
  local body = make()
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
