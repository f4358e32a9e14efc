-- One connection a thread; each spends the refresh token that it got last. An answer
-- without a new one ends the run: the next request can't be made.
local counter = 0
function setup(thread)
  counter = counter + 1
  thread:set("id", counter)
end

local tokens = {}
for line in io.lines(os.getenv("TOKENS")) do tokens[#tokens + 1] = line end
local token

function init() token = tokens[id] end

request = function()
  return wrk.format("POST", nil, {
    ["Authorization"] = "Basic " .. os.getenv("BASIC"),
    ["Content-Type"] = "application/x-www-form-urlencoded",
  }, "grant_type=refresh_token&refresh_token=" .. token)
end

response = function(status, _, body)
  if status ~= 200 then return end
  local new = body:match('"refresh_token":"([^"]+)"')
  if new == token then new = nil end
  token = new
end
