-- Sends a GET with a bearer token, or a POST when BODY is set; the tokens take turns.
-- The requests are made once, so that sending them costs little beside answering.
local requests, turn = {}, 0

function init()
  local body = os.getenv("BODY")
  for token in io.lines(os.getenv("TOKENS")) do
    if body == "" then
      requests[#requests + 1] = wrk.format("GET", nil, { ["Authorization"] = "Bearer " .. token })
    else
      requests[#requests + 1] = wrk.format("POST", nil, {
        ["Authorization"] = "Basic " .. os.getenv("BASIC"),
        ["Content-Type"] = "application/x-www-form-urlencoded",
      }, (body:gsub("%%s", token)))
    end
  end
end

request = function()
  turn = turn % #requests + 1
  return requests[turn]
end
