-- One client program for wrk: BATCH events a request (1: revosurge's single route), PAUSE milliseconds between requests
-- on average, batches by DIALECT. The events are those of the vendors' documents, each with an id of its own.
local key, batch, pause = os.getenv("KEY"), tonumber(os.getenv("BATCH")), tonumber(os.getenv("PAUSE"))
local adwize = os.getenv("DIALECT") == "adwize"
local path = adwize and "/api/v1/events" or batch == 1 and "/v2/s2s/event" or "/v2/s2s/batch"
local purchase = '{"source":"backend","event_type":"purchase","data":{"transaction_id":"TXN-%d-%d-%d","value":99.99,"currency":"USD"}}'
local deposit = '{"client_user_id":"user_%d","click_id":"clk_998877","ip_address":"203.0.113.1","event_name":"deposit",' ..
  '"transaction_id":"tx_%d_%d_%d","timestamp":1702963200,"amount":50.00,"currency":"USD"}'
local headers = {["Content-Type"] = "application/json", ["X-API-Key"] = key}
local run, number = os.time(), 0

local function one(i)
  if adwize then return string.format(purchase, run, number, i) end
  return string.format(deposit, i % 1000, run, number, i)
end

request = function()
  number = number + 1
  if batch == 1 then return wrk.format("POST", path, headers, one(number)) end
  local events = {}
  for i = 1, batch do events[i] = one(i) end
  return wrk.format("POST", path, headers, "[" .. table.concat(events, ",") .. "]")
end

if pause > 0 then
  delay = function() return math.random(0, 2 * pause) end
end
