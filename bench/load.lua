-- Sends a GET with a bearer token, or a POST when BODY is set; the tokens take turns.
local tokens, turn = {}, 0
for line in io.lines(os.getenv("TOKENS")) do tokens[#tokens + 1] = line end
local body = os.getenv("BODY")

request = function()
  turn = turn % #tokens + 1
  if body == "" then
    return wrk.format("GET", nil, { ["Authorization"] = "Bearer " .. tokens[turn] })
  end
  return wrk.format("POST", nil, {
    ["Authorization"] = "Basic " .. os.getenv("BASIC"),
    ["Content-Type"] = "application/x-www-form-urlencoded",
  }, (body:gsub("%%s", tokens[turn])))
end
