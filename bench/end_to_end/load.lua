-- wrk's client: batches of BATCH events in revosurge's form, PAUSE milliseconds between two on average. Of eight events two
-- are bets (one carries its result), one settles the bet sent before it, one is a deposit, the rest are logins.
local key, batch, pause = os.getenv("KEY"), tonumber(os.getenv("BATCH")), tonumber(os.getenv("PAUSE"))
local headers = {["Content-Type"] = "application/json", ["X-API-Key"] = key}
local game = '"game_type":"slot","game_provider":"EA","is_crypto":false,"amount":5.00,"currency":"USD"'
local login = '{"client_user_id":"user_%d","event_name":"login","ip_address":"203.0.113.1","transaction_id":"%s","timestamp":%d}'
local deposit = '{"client_user_id":"user_%d","event_name":"deposit","ip_address":"203.0.113.1","transaction_id":"%s",' ..
  '"timestamp":%d,"amount":50.00,"currency":"USD"}'
local bet = '{"client_user_id":"user_%d","event_name":"bet","transaction_id":"%s","timestamp":%d,' .. game .. '}'
local result = '{"client_user_id":"user_%d","event_name":"bet","transaction_id":"%s","timestamp":%d,' .. game ..
  ',"bet_result":"win","bet_result_amount":1.00}'
local win = '{"client_user_id":"user_%d","event_name":"win","transaction_id":"%s","timestamp":%d,' .. game ..
  ',"parent_transaction_id":"%s"}'
local run, number = tostring(os.time()) .. tostring(math.random(1, 1000000)), 0

local function id(n) return "t" .. run .. "_" .. n end

local function one(n)
  local kind, user, now = n % 8, math.floor(n / 8) % 20000, os.time()
  if kind == 0 then return string.format(bet, user, id(n), now) end
  if kind == 1 then return string.format(win, user, id(n), now, id(n - 1)) end
  if kind == 2 then return string.format(result, user, id(n), now) end
  if kind == 3 then return string.format(deposit, user, id(n), now) end
  return string.format(login, user, id(n), now)
end

request = function()
  local events = {}
  for i = 1, batch do
    events[i] = one(number)
    number = number + 1
  end
  return wrk.format("POST", "/v2/s2s/batch", headers, "[" .. table.concat(events, ",") .. "]")
end

if pause > 0 then
  delay = function() return math.random(0, 2 * pause) end
end
