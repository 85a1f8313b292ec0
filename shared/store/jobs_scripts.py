"""What happens to a job in Redis, each step whole or not at all: Lua, which the server runs without a break.

A job is one hash: its record with its request, later with its outcome; so eviction and expiry take all of it or
nothing. Its other traces are names only, and a name without a hash is passed over and dropped. `member` is
`owner:id`; every time is the server's, in milliseconds. A script's first write is one that a full server refuses, and
then nothing of it has happened.
"""

from __future__ import annotations

_NOW = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""

SUBMIT = (
    _NOW
    + """
local job, queue, index, open, idem = unpack(KEYS)
local id, member, task, request, sum, jobs, bytes, known_prefix, print, oldest = unpack(ARGV)
if print ~= '' then
  local known = redis.call('GET', idem)
  if known then
    local other = string.sub(known, 66)
    if redis.call('EXISTS', known_prefix .. other) == 1 then
      if string.sub(known, 1, 64) ~= print then return {'mismatch'} end
      return {'known', other}
    end
  end
end
if redis.call('HLEN', open) >= tonumber(jobs) then return {'jobs'} end
local held = #request
for _, size in ipairs(redis.call('HVALS', open)) do held = held + tonumber(size) end
if held > tonumber(bytes) then return {'bytes'} end
redis.call('HSET', job, 'state', 'queued', 'task', task, 'created', now, 'tries', 0, 'request', request,
  'sum', sum)
redis.call('HSET', open, id, #request)
redis.call('LPUSH', queue, member)
redis.call('ZADD', index, 0, id)
redis.call('ZREMRANGEBYLEX', index, '-', '(' .. oldest)
redis.call('PERSIST', index)
if print ~= '' then
  redis.call('SET', idem, print .. ':' .. id)
  redis.call('HSET', job, 'idem', idem)
end
return {'new', id}
"""
)
"""KEYS job, queue, index, open, idem; ARGV id, member, task, request, its checksum, most jobs, most bytes, prefix of
this tenant's job keys, fingerprint or '', id below which none can be left."""

_ENDED = """
local function ended(job, open, index, id, ttl)
  local idem = redis.call('HGET', job, 'idem')
  if idem then redis.call('PEXPIRE', idem, ttl) end
  redis.call('PEXPIRE', job, ttl)
  redis.call('HDEL', job, 'request', 'sum', 'token')
  redis.call('HDEL', open, id)
  if redis.call('EXISTS', open) == 0 then redis.call('PEXPIRE', index, ttl) end
end
"""
"""Gives all that belongs to a job its time to live; to the tenant's list of jobs once none of them is open."""

LOOK = (
    _NOW
    + """
return {redis.call('LLEN', KEYS[1]), redis.call('ZCOUNT', KEYS[2], '-inf', now)}
"""
)
"""KEYS queue, leases."""

TAKE = (
    _NOW
    + """
local queue, leases = unpack(KEYS)
local token, lease, prefix = unpack(ARGV)
while true do
  local late = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 1)[1]
  local member = late or redis.call('LINDEX', queue, -1)
  if not member then return false end
  local job = prefix .. member
  local state = redis.call('HGET', job, 'state')
  if state == 'queued' or state == 'running' then
    redis.call('HSET', job, 'state', 'running', 'token', token)
    redis.call('HSETNX', job, 'started', now)
    redis.call('ZADD', leases, now + tonumber(lease), member)
    if not late then redis.call('RPOP', queue) end
    local tries = redis.call('HINCRBY', job, 'tries', 1)
    local found = redis.call('HMGET', job, 'task', 'created', 'request', 'sum')
    return {member, tries, now, found[1], found[2], found[3], found[4]}
  end
  if late then redis.call('ZREM', leases, member) else redis.call('RPOP', queue) end
  local cut = string.find(member, ':', 1, true)
  redis.call('HDEL', prefix .. 'open:' .. string.sub(member, 1, cut - 1), string.sub(member, cut + 1))
end
"""
)
"""KEYS queue, leases; ARGV token, milliseconds of a lease, prefix of every job's key."""

RENEW = (
    _NOW
    + """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[3]), ARGV[2])
return 1
"""
)
"""KEYS job, leases; ARGV token, member, milliseconds of a lease."""

FINISH = (
    _NOW
    + _ENDED
    + """
local job, leases, open, index = unpack(KEYS)
local token, member, id, ttl, state, status, media, headers, field, body = unpack(ARGV)
if redis.call('HGET', job, 'token') ~= token then return 0 end
redis.call('HSET', job, 'state', state, 'finished', now, 'status', status, 'media', media, 'headers', headers,
  field, body)
ended(job, open, index, id, ttl)
redis.call('ZREM', leases, member)
return 1
"""
)
"""KEYS job, leases, open, index; ARGV token, member, id, milliseconds that it is kept, state, status, media type,
headers, field that takes the body, body."""

GIVE_BACK = """
local job, leases, queue = unpack(KEYS)
if redis.call('HGET', job, 'token') ~= ARGV[1] then return 0 end
redis.call('HSET', job, 'state', 'queued')
redis.call('HINCRBY', job, 'tries', -1)
redis.call('HDEL', job, 'token')
redis.call('ZREM', leases, ARGV[2])
redis.call('RPUSH', queue, ARGV[2])
return 1
"""
"""KEYS job, leases, queue; ARGV token, member."""

DELETE = (
    _NOW
    + _ENDED
    + """
local job, leases, open, index, queue = unpack(KEYS)
local member, id, ttl = unpack(ARGV)
local state = redis.call('HGET', job, 'state')
if not state then return 'unknown' end
if state ~= 'queued' and state ~= 'running' then
  local idem = redis.call('HGET', job, 'idem')
  if idem then redis.call('DEL', idem) end
  redis.call('DEL', job)
  redis.call('ZREM', index, id)
  return 'forgotten'
end
redis.call('HSET', job, 'state', 'cancelled', 'finished', now)
ended(job, open, index, id, ttl)
redis.call('ZREM', leases, member)
redis.call('LREM', queue, -1, member)
return 'cancelled'
"""
)
"""KEYS job, leases, open, index, queue; ARGV member, id, milliseconds that a cancelled job is kept."""
