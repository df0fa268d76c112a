-- wrk's script: posts the bodies of a file in order, each event with an id of its own, and prints what happened as JSON.
-- Environment: BODIES (file), SITE (key), SENDER (0 to 15, one for each wrk that runs at once).
local ffi = require("ffi")
ffi.cdef [[
typedef struct { long seconds; long micros; } moment;
int gettimeofday(moment *now, void *zone);
]]
local now = ffi.new("moment")
local format, concat = string.format, table.concat
local sender, counter, at = tonumber(os.getenv("SENDER")), 0, 0
local posts, suffixes, threads = {}, {}, {}
loaded = 0

function setup(thread) threads[#threads + 1] = thread end

local HEADERS = {
  ["Content-Type"] = "text/plain;charset=UTF-8", ["Origin"] = "https://www.example.com", ["Accept"] = "*/*",
  ["Accept-Language"] = "en-GB,en;q=0.9", ["Referer"] = "https://www.example.com/",
  ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
}

-- A request is kept as a list whose even places are filled with ids anew each time; all ids have one length, so the head can stay.
function init(args)
  for slot = 1, 500 do suffixes[slot] = format("%06x", slot * 8191 % 16777216) end
  for line in io.lines(os.getenv("BODIES")) do
    local body = line:gsub("@SITE@", os.getenv("SITE"))
    local request = wrk.format("POST", "/collect", HEADERS, (body:gsub("@ID@", string.rep("i", 36))))
    local head = request:sub(1, select(2, request:find("\r\n\r\n", 1, true)))
    local parts, start = {}, 1
    while true do
      local from, to = body:find("@ID@", start, true)
      parts[#parts + 1] = body:sub(start, (from or 0) - 1)
      if not from then break end
      parts[#parts + 1] = ""
      start = to + 1
    end
    parts[1] = head .. parts[1]
    posts[#posts + 1] = parts
  end
  loaded = os.clock()  -- CPU seconds of this process, none of which were load yet
end

function request()
  at = at % #posts + 1
  counter = counter + 1
  ffi.C.gettimeofday(now, nil)
  local ms = tonumber(now.seconds) * 1000 + math.floor(tonumber(now.micros) / 1000)
  local high = math.floor(ms / 65536)
  -- UUIDv7: time, then sender, number of the request and place of the event where others have random bits
  local id = format("%08x-%04x-7%03x-8%x%02x-%06x", high, ms - high * 65536, math.floor(counter / 4294967296) % 4096, sender,
    math.floor(counter / 16777216) % 256, counter % 16777216)
  local parts = posts[at]
  for place = 2, #parts, 2 do parts[place] = id .. suffixes[place / 2] end
  return concat(parts)
end

function done(summary, latency, requests)
  local errors, before = summary.errors, 0
  for _, thread in ipairs(threads) do before = math.max(before, thread:get("loaded")) end
  io.write(format('\n{"requests":%d,"micros":%d,"p50":%d,"p90":%d,"p99":%d,"max":%d,"broken":%d,"refused":%d,"cpu":%f}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status,
    os.clock() - before))
end
