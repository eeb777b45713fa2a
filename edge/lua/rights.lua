-- Put behind trust.lua where a script tells which command its user may not run.

-- The first of these commands, each a table of its words, that the caller's user is not permitted: the command and its key, or what
-- of it there is. nil where all are.
local function denied(commands)
  for _, words in ipairs(commands) do
    if not permits(unpack(words)) then
      return words[1] .. (words[2] and ' ' .. words[2] or '')
    end
  end
  return nil
end

-- What is read of a sale before it is believed, by KEYS as init.lua and close.lua have them.
local function reads()
  local stock_key, sale_key, queue = KEYS[1], KEYS[2], KEYS[9]
  local commands = {{'INFO', 'replication'}, {'TIME'}, {'HMGET', sale_key, 'id'}, {'EXISTS', sale_key}, {'HGET', sale_key, 'topic'},
    {'GET', stock_key}, {'XLEN', KEYS[3]}, {'HGET', KEYS[4], '.'}, {'HGET', KEYS[5], '.'}, {'SISMEMBER', KEYS[6], '.'},
    {'HGET', KEYS[7], '.'}, {'HGET', KEYS[8], '.'}, {'HGET', records_of(sale_key, '0'), '.'}}
  if queue then
    commands[#commands + 1] = {'HGET', queue, '.'}
    commands[#commands + 1] = {'HGET', turns_of(queue), '.'}
  end
  return commands
end
