-- One kind of request for wrk, again and again. Arguments: skerry or etcd; put, get or patch; how many keys there are, or 0 for
-- a new key each time; what keys begin with. Values have 200 bytes.

local base64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function encode(text)
  local out = {}
  for at = 1, #text, 3 do
    local a, b, c = text:byte(at, at + 2)
    local bits = a * 65536 + (b or 0) * 256 + (c or 0)
    local function digit(shift)
      local place = math.floor(bits / shift) % 64 + 1
      return base64:sub(place, place)
    end
    out[#out + 1] = digit(262144) .. digit(4096) .. (b and digit(64) or "=") .. (c and digit(1) or "=")
  end
  return table.concat(out)
end

local made = 0
local next_key

local requests = {
  skerry = {
    put = function(value)
      local body = '{"v":"' .. value:sub(1, 200 - #'{"v":""}') .. '"}'
      local headers = { ["Content-Type"] = "application/json" }
      return function(key) return wrk.format("PUT", "/v1/collections/load/documents/" .. key, headers, body) end
    end,
    get = function()
      return function(key) return wrk.format("GET", "/v1/collections/load/documents/" .. key) end
    end,
    patch = function(value)
      local body = '{"v":"' .. value .. '"}'
      local headers = { ["Content-Type"] = "application/merge-patch+json" }
      return function(key) return wrk.format("PATCH", "/v1/collections/load/documents/" .. key, headers, body) end
    end,
  },
  etcd = {
    put = function(value)
      local rest = '","value":"' .. encode(value) .. '"}'
      return function(key) return wrk.format("POST", "/v3/kv/put", nil, '{"key":"' .. encode(key) .. rest) end
    end,
    get = function()
      return function(key) return wrk.format("POST", "/v3/kv/range", nil, '{"key":"' .. encode(key) .. '"}') end
    end,
  },
}

local make

function init(args)
  local system, operation, keys, prefix = args[1], args[2], tonumber(args[3]), args[4]
  math.randomseed(1)
  make = requests[system][operation](string.rep("x", 200))
  next_key = function()
    if keys > 0 then
      return prefix .. math.random(keys)
    end
    made = made + 1
    return prefix .. made
  end
end

function request()
  return make(next_key())
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '{"requests":%d,"micros":%d,"failed":%d,"p50_micros":%d,"p99_micros":%d}\n',
    summary.requests, summary.duration, failed, latency:percentile(50), latency:percentile(99)
  ))
end
