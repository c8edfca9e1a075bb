-- Replace a value unless somebody wrote to it meanwhile; it expires when it would have.
-- KEYS[1]: a part. ARGV[1]: its 24-byte header and ARGV[2]: its length, as read. ARGV[3]: the new value.
-- Answers 1 if it was replaced, 0 if not.
local header, length = redis.call('GETRANGE', KEYS[1], 0, 23), redis.call('STRLEN', KEYS[1])
if header ~= ARGV[1] or length ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[3], 'KEEPTTL')
return 1
