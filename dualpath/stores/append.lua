-- Append records to parts of state, each once.
-- KEYS: parts. ARGV[1]: the 24-byte header of this write. ARGV[2]: '1' to replace instead of append.
-- ARGV[2i + 1]: records of KEYS[i]. ARGV[2i + 2]: when KEYS[i] may expire, milliseconds since 1970, or '0'.
-- A key whose fence is not older than the header's has seen this write and is left alone. Answers how many
-- keys were written.
local header, replace = ARGV[1], ARGV[2] == '1'
local format, epoch, batch = string.sub(header, 1, 8), struct.unpack('<i8i8', string.sub(header, 9))
local written = 0
for i, key in ipairs(KEYS) do
  local records, expiry = ARGV[2 * i + 1], tonumber(ARGV[2 * i + 2])
  local old = redis.call('GETRANGE', key, 0, 23)
  local fresh = true
  if old == '' or replace then
    redis.call('SET', key, header .. records)
  elseif string.sub(old, 1, 8) ~= format then
    return redis.error_reply('FOREIGN ' .. key)
  else
    local old_epoch, old_batch = struct.unpack('<i8i8', string.sub(old, 9))
    fresh = epoch > old_epoch or (epoch == old_epoch and batch > old_batch)
    if fresh then
      redis.call('SETRANGE', key, 0, header)
      redis.call('APPEND', key, records)
    end
  end
  if fresh then
    written = written + 1
    if expiry > 0 then
      local now = redis.call('TIME')
      local left = redis.call('PTTL', key)
      if old == '' or replace or (left >= 0 and expiry > now[1] * 1000 + left) then
        redis.call('PEXPIREAT', key, expiry)
      end
    end
  end
end
return written
