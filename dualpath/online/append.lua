-- Write records into parts of state, each once.
-- KEYS: parts. ARGV[1]: the 24-byte header of this write. ARGV[2]: 'append' to arrival days, 'extend' or 'replace'
-- snapshots. ARGV[3]: the length, bytes, above which a value is large. ARGV[4]: that from which on one is worth
-- compacting. ARGV[2i + 3]: records of KEYS[i]. ARGV[2i + 4]: when KEYS[i] may expire, milliseconds since 1970, or '0'.
-- The header of an arrival day ends with a fence, that of a snapshot with an extent (dualpath/online/extent.py). A key
-- that has seen this write is left alone, as is an arrival day that has seen a later one; a snapshot of a later
-- publication is an error. What an extension finds of a publication that died it cuts off. Answers how many keys were
-- written; for each large value, the place of its key and its length; and the places of those that an append or an
-- extension has taken past a power of two.
local FENCE, EXTENT = '<i8i8', '<I4I4I4I4'
local header, how, large, worth = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local format = string.sub(header, 1, 8)
local written, larger, grown = 0, {}, {}
local function doublings(length)
  local _, exponent = math.frexp(length)
  return exponent
end
-- Positive if this write is later than the last one that a value has seen, 0 if it is that one.
local function compared(old)
  if how ~= 'append' then
    local _, _, _, mine = struct.unpack(EXTENT, header, 9)
    local _, _, _, last = struct.unpack(EXTENT, old, 9)
    return mine - last
  end
  local query, batch = struct.unpack(FENCE, header, 9)
  local old_query, old_batch = struct.unpack(FENCE, old, 9)
  return query == old_query and batch - old_batch or query - old_query
end
for i, key in ipairs(KEYS) do
  local records, expiry = ARGV[2 * i + 3], tonumber(ARGV[2 * i + 4])
  local old = redis.call('GETRANGE', key, 0, 23)
  local new = old == '' or how == 'replace'
  if not new and string.sub(old, 1, 8) ~= format then
    return redis.error_reply('OTHERFORMAT ' .. key)
  end
  local later, length = old == '' and 1 or compared(old), #header + #records
  if later < 0 and how ~= 'append' then
    return redis.error_reply('PUBLISHED ' .. key)
  elseif later <= 0 then
    length = redis.call('STRLEN', key)
  elseif new then
    redis.call('SET', key, header .. records)
  elseif how == 'append' then
    redis.call('SETRANGE', key, 0, header)
    length = redis.call('APPEND', key, records)
  else
    local through, since, _, publication = struct.unpack(EXTENT, header, 9)
    local old_through, old_since, kept = struct.unpack(EXTENT, old, 9)
    if old_through <= since then
      kept = redis.call('STRLEN', key)
    elseif old_since <= since then
      redis.call('SET', key, redis.call('GETRANGE', key, 0, kept - 1), 'KEEPTTL')
    else
      return redis.error_reply('PUBLISHED ' .. key)
    end
    redis.call('SETRANGE', key, 0, format .. struct.pack(EXTENT, through, since, kept, publication))
    length = redis.call('APPEND', key, records)
  end
  if later > 0 then
    written = written + 1
    if how ~= 'replace' and length >= worth and doublings(length) > doublings(length - #records) then
      grown[#grown + 1] = i
    end
    if expiry > 0 then
      local now = redis.call('TIME')
      local left = redis.call('PTTL', key)
      if new or (left >= 0 and expiry > now[1] * 1000 + left) then
        redis.call('PEXPIREAT', key, expiry)
      end
    end
  end
  if length > large then
    larger[#larger + 1], larger[#larger + 2] = i, length
  end
end
return {written, larger, grown}
