-- What Redis 7.0 puts into Lua beside redis.call: the rest of `redis`, and the table that is the scripts' _G.
-- Its pcall is Redis' own (luaRedisPcall): of an error with a text it yields the text.
--
-- Called once with call, pcall, reply_error, caught, locate (lua.rs) and Lua's own globals; returns _G and the function that
-- runs a script.

local call, try, reply_error, caught, locate, globals = ...
local type, error, xpcall, rawset, plain_pcall = type, error, xpcall, rawset, pcall

local redis = {call = call, pcall = try}
function redis.status_reply(text)
  if type(text) ~= 'string' then
    return {err = 'ERR wrong number or type of arguments'}
  end
  return {ok = text}
end
function redis.error_reply(text)
  if type(text) ~= 'string' then
    return {err = 'ERR wrong number or type of arguments'}
  end
  return {err = reply_error(text)}
end

local env = {redis = redis}
for _, name in ipairs({'string', 'math', 'table', 'coroutine', 'tostring', 'getmetatable', 'setmetatable',
  'next', 'assert', 'tonumber', 'rawget', 'rawset', 'select', 'loadstring', 'load', 'type', 'rawequal',
  'ipairs', 'unpack', 'pairs', 'error', 'collectgarbage', 'gcinfo', '_VERSION'}) do
  env[name] = globals[name]
end
env._G = env
local function outcome(ended, first, ...)
  if not ended then
    first = caught(first)
    if type(first) == 'table' and type(first.err) == 'string' then
      first = first.err
    end
  end
  return ended, first, ...
end
function env.pcall(...)
  return outcome(plain_pcall(...))
end
setmetatable(env, {
  __index = function(_, name)
    error('Script attempted to access nonexistent global variable \'' .. tostring(name) .. '\'', 2)
  end,
  __newindex = function()
    error('Attempt to modify a readonly table', 2)
  end,
})

local function run(script, keys, arguments)
  rawset(env, 'KEYS', keys)
  rawset(env, 'ARGV', arguments)
  return xpcall(script, locate)
end
return env, run
