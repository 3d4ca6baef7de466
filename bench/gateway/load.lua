-- One client program for wrk: BATCH events a request (1: the single route), PAUSE milliseconds between requests on average.
local key, batch, pause = os.getenv("KEY"), tonumber(os.getenv("BATCH")), tonumber(os.getenv("PAUSE"))
local event = '{"client_user_id":"user_%d","click_id":"clk_998877","ip_address":"203.0.113.1","event_name":"deposit",' ..
  '"transaction_id":"tx_%d_%d_%d","timestamp":1702963200,"amount":50.00,"currency":"USD"}'
local headers = {["Content-Type"] = "application/json", ["X-API-Key"] = key}
local run, number = os.time(), 0

local function one(i)
  return string.format(event, i % 1000, run, number, i)
end

request = function()
  number = number + 1
  if batch == 1 then return wrk.format("POST", "/v2/s2s/event", headers, one(number)) end
  local events = {}
  for i = 1, batch do events[i] = one(i) end
  return wrk.format("POST", "/v2/s2s/batch", headers, "[" .. table.concat(events, ",") .. "]")
end

if pause > 0 then
  delay = function() return math.random(0, 2 * pause) end
end
