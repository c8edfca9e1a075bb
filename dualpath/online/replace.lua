-- Replace values unless somebody wrote to them meanwhile; each expires when it would have.
-- KEYS: parts. ARGV[3i - 2]: the 24-byte header of KEYS[i] and ARGV[3i - 1]: its length, as read. ARGV[3i]: the new value.
-- Answers how many were replaced.
local replaced = 0
for i, key in ipairs(KEYS) do
  local header, length = redis.call('GETRANGE', key, 0, 23), redis.call('STRLEN', key)
  if header == ARGV[3 * i - 2] and length == tonumber(ARGV[3 * i - 1]) then
    redis.call('SET', key, ARGV[3 * i], 'KEEPTTL')
    replaced = replaced + 1
  end
end
return replaced
