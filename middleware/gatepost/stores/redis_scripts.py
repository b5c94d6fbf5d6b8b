"""What the server does in one step, in Lua. Keys come first, in the order that the callers give them."""

from __future__ import annotations

# Milliseconds of the server's clock come with the answer: by them a claim can say when it is given up.
_TIME = """
local function time()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end
"""

_IDENTITY = """
local function identity(key)
  return (redis.call('GET', key) or '') .. string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end
"""

OPEN = (
    _TIME
    + _IDENTITY
    + """
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return {identity(KEYS[1]), time()}
"""
)

CLAIM = (
    _TIME
    + _IDENTITY
    + """
local now = time()
if now > tonumber(ARGV[5]) then return {4, now} end
if identity(KEYS[1]) ~= ARGV[1] then return {3, now} end
if ARGV[3] ~= '' and redis.call('EXISTS', KEYS[3]) == 1 then return {2, now} end
if ARGV[2] ~= '' and not redis.call('SET', KEYS[2], '', 'NX', 'PX', ARGV[2]) then return {1, now} end
if ARGV[3] ~= '' then redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[3]) end
return {0, now}
"""
)

UNDO = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""

# A hash tells of each kept body its end, size and client; the bodies have keys of their own, which expire.
KEEP = """
local count, total, theirs = 0, 0, 0
local kept = redis.call('HGETALL', KEYS[1])
for index = 1, #kept, 2 do
  local ends, size, client = string.match(kept[index + 1], '(%d+):(%d+):(.*)')
  if tonumber(ends) <= tonumber(ARGV[1]) or kept[index] == ARGV[2] then
    redis.call('HDEL', KEYS[1], kept[index])
  else
    count, total = count + 1, total + size
    if client ~= '' and client == ARGV[5] then theirs = theirs + size end
  end
end
local size = tonumber(ARGV[4])
if count >= tonumber(ARGV[6]) or total + size > tonumber(ARGV[7]) or theirs + size > tonumber(ARGV[8]) then return 0 end
redis.call('SET', KEYS[2], ARGV[9], 'PX', ARGV[3] - ARGV[1])
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3] .. ':' .. ARGV[4] .. ':' .. ARGV[5])
return 1
"""

LIMIT = """
local current = tonumber(redis.call('GET', KEYS[1]) or 0)
local previous = tonumber(redis.call('GET', KEYS[2]) or 0)
if current + previous * tonumber(ARGV[1]) + 1 <= tonumber(ARGV[2]) then
  redis.call('INCR', KEYS[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return {current, previous}
"""

GIVE_BACK = """
if tonumber(redis.call('GET', KEYS[1]) or 0) > 0 then redis.call('DECR', KEYS[1]) end
"""

# An exchange that seemed to fail is told again under its number, and what was added once is not added again.
EXCHANGE = """
local mine = cjson.decode(ARGV[1])
if tonumber(redis.call('GET', KEYS[6]) or -1) < mine.number then
  for index, count in ipairs({mine.fresh, mine.late}) do
    if count ~= 0 then
      redis.call('INCRBY', KEYS[index], count)
      redis.call('PEXPIRE', KEYS[index], mine.expire)
    end
  end
  for name, value in pairs(mine.counts) do redis.call('HINCRBY', KEYS[4], name, value) end
  if mine.told then redis.call('SET', KEYS[6], mine.number, 'PX', mine.expire) end
end
redis.call('SADD', KEYS[5], mine.rule)
local known = redis.call('HMGET', KEYS[3], 'until', 'turn')
local ends, turn = cjson.decode(known[1] or '[]'), tonumber(known[2] or 0)
local was, is = false, false
for _, value in ipairs(ends) do was = was or value > mine.now end
if mine.turn > turn then ends, turn = {}, mine.turn end
if mine.turn == turn then
  for index, value in ipairs(mine.ends) do ends[index] = math.max(ends[index] or 0, value) end
end
for _, value in ipairs(ends) do is = is or value > mine.now end
redis.call('HSET', KEYS[3], 'until', #ends > 0 and cjson.encode(ends) or '[]', 'turn', turn, 'period', mine.period)
if mine.terms ~= '' then redis.call('HSET', KEYS[3], 'terms', mine.terms) end
if is ~= was or not known[1] then
  redis.call('HSET', KEYS[3], 'since', ARGV[2], 'cause', is and mine.cause or '')
end
local totals = redis.call('MGET', KEYS[1], KEYS[2])
return {totals[1] or '0', totals[2] or '0', #ends > 0 and cjson.encode(ends) or '[]', turn}
"""
