-- Append records to parts of state, each once.
-- KEYS: parts. ARGV[1]: the 24-byte header of this write. ARGV[2]: '1' to replace instead of append.
-- ARGV[3]: the length, bytes, above which a value is large. ARGV[4]: that from which on one is worth compacting.
-- ARGV[2i + 3]: records of KEYS[i]. ARGV[2i + 4]: when KEYS[i] may expire, milliseconds since 1970, or '0'.
-- A key whose fence is not older than the header's has seen this write and is left alone. Answers how many
-- keys were written; for each large value, the place of its key and its length; and the places of those that
-- an append has taken past a power of two.
local header, replace, large, worth = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3]), tonumber(ARGV[4])
local format, query, batch = string.sub(header, 1, 8), struct.unpack('<i8i8', string.sub(header, 9))
local written, larger, grown = 0, {}, {}
local function doublings(length)
  local _, exponent = math.frexp(length)
  return exponent
end
for i, key in ipairs(KEYS) do
  local records, expiry = ARGV[2 * i + 3], tonumber(ARGV[2 * i + 4])
  local old = redis.call('GETRANGE', key, 0, 23)
  local fresh, length = true, #header + #records
  if old == '' or replace then
    redis.call('SET', key, header .. records)
  elseif string.sub(old, 1, 8) ~= format then
    return redis.error_reply('OTHERFORMAT ' .. key)
  else
    local old_query, old_batch = struct.unpack('<i8i8', string.sub(old, 9))
    fresh = query > old_query or (query == old_query and batch > old_batch)
    if fresh then
      redis.call('SETRANGE', key, 0, header)
      length = redis.call('APPEND', key, records)
    else
      length = redis.call('STRLEN', key)
    end
  end
  if fresh then
    written = written + 1
    if length >= worth and doublings(length) > doublings(length - #records) and not replace then
      grown[#grown + 1] = i
    end
    if expiry > 0 then
      local now = redis.call('TIME')
      local left = redis.call('PTTL', key)
      if old == '' or replace or (left >= 0 and expiry > now[1] * 1000 + left) then
        redis.call('PEXPIREAT', key, expiry)
      end
    end
  end
  if length > large then
    larger[#larger + 1], larger[#larger + 2] = i, length
  end
end
return {written, larger, grown}
