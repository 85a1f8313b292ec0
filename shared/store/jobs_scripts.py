"""What happens to a job in Redis, each step whole or not at all: Lua, which the server runs without a break.

A job is one hash: its record with its request, later with its outcome; so eviction and expiry take all of it or
nothing. Its other traces are names only, and a name without a hash is passed over and dropped. `member` is
`owner:id`; every time is the server's, in milliseconds. `SUBMIT` and `FINISH`, which bring something, begin with a
write that a full server refuses, and then nothing of them has happened. All others begin with one that it takes, and
then it takes the rest: whatever makes room goes on.

What lies in the hash may have been altered: no script relies on its form. `seal` is the SHA-1 of what never changes,
`course` that of how the job goes: each script that changes a field of it writes it anew, unless it was not right
before.
"""

from __future__ import annotations

_NOW = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""

_READ = """
local function field(job, name)
  local found = redis.pcall('HGET', job, name)
  return type(found) == 'string' and found
end
local function named(idem, id)
  local known = redis.pcall('GET', idem)
  return type(known) == 'string' and string.sub(known, 66) == id
end
local function whole(text) return text and #text < 16 and string.find(text, '^%d+$') end
local function sealed(id, task, created)
  return redis.sha1hex(id .. ' ' .. (task or '') .. ' ' .. (created or ''))
end
local function course(job, id)
  local said = {id}
  for _, name in ipairs({'state', 'tries', 'started', 'finished'}) do
    table.insert(said, field(job, name) or '')
  end
  return redis.sha1hex(table.concat(said, ' '))
end
local function goes(job, id) return field(job, 'course') == course(job, id) end
local function went(job, id, before)
  if before then redis.call('HSET', job, 'course', course(job, id)) end
end
"""
"""A field, false where there is none; whether this key of a caller's is this job's; whether this is an integer from 0
on; the seal; the seal of its course, whether that is right, and what writes it anew."""

SUBMIT = (
    _NOW
    + _READ
    + """
local job, queue, index, open, idem = unpack(KEYS)
local id, member, task, request, sum, jobs, bytes, known_prefix, print, oldest = unpack(ARGV, 1, 10)
if print ~= '' then
  local known = redis.call('GET', idem)
  if known then
    local other = string.sub(known, 66)
    if field(known_prefix .. other, 'idem') == idem then
      if string.sub(known, 1, 64) ~= print then return {'mismatch'} end
      return {'known', other, redis.call('HMGET', known_prefix .. other, unpack(ARGV, 11))}
    end
  end
end
if redis.call('HLEN', open) >= tonumber(jobs) then return {'jobs'} end
local held = #request
for _, size in ipairs(redis.call('HVALS', open)) do held = held + (tonumber(size) or 0) end
if held > tonumber(bytes) then return {'bytes'} end
local created = string.format('%.0f', now)
redis.call('HSET', job, 'state', 'queued', 'task', task, 'created', created, 'tries', 0, 'request', request,
  'sum', sum, 'seal', sealed(id, task, created))
went(job, id, true)
redis.call('HSET', open, id, #request)
redis.call('LPUSH', queue, member)
redis.call('ZADD', index, 0, id)
redis.call('ZREMRANGEBYLEX', index, '-', '(' .. oldest)
redis.call('PERSIST', index)
if print ~= '' then
  redis.call('SET', idem, print .. ':' .. id)
  redis.call('HSET', job, 'idem', idem)
end
return {'new', id, redis.call('HMGET', job, unpack(ARGV, 11))}
"""
)
"""KEYS job, queue, index, open, idem; ARGV id, member, task, request, its checksum, most jobs, most bytes, prefix of
this tenant's job keys, fingerprint or '', id below which none can be left, fields that are told of the job."""

_ENDED = """
local function ended(job, open, index, id, ttl)
  local idem = field(job, 'idem')
  if idem and named(idem, id) then redis.call('PEXPIRE', idem, ttl) end
  redis.call('PEXPIRE', job, ttl)
  redis.call('HDEL', job, 'request', 'sum', 'token', 'lease')
  redis.call('HDEL', open, id)
  if redis.call('EXISTS', open) == 0 then redis.call('PEXPIRE', index, ttl) end
end
"""
"""Gives all that belongs to a job its time to live; to the tenant's list of jobs once none of them is open."""

LOOK = (
    _NOW
    + _READ
    + """
local queue, leases = unpack(KEYS)
local last = redis.call('ZREVRANGE', leases, 0, 0, 'WITHSCORES')
local lease = last[1] and field(ARGV[1] .. last[1], 'lease')
if whole(lease) and tonumber(last[2]) > now + tonumber(lease) then
  redis.call('ZREM', leases, last[1])
  redis.call('ZADD', leases, now + tonumber(lease), last[1])
end
return {redis.call('LLEN', queue), redis.call('ZCOUNT', leases, '-inf', now)}
"""
)
"""KEYS queue, leases; ARGV prefix of every job's key. A lease that runs for longer than one does was given before the
server's clock was set back: it begins anew, one at each look."""

REQUEUE = """
local queue, leases = unpack(KEYS, 1, 2)
local known, found = {}, 0
for _, member in ipairs(redis.call('LRANGE', queue, 0, -1)) do known[member] = true end
for index = 3, #KEYS do
  local owner = string.sub(KEYS[index], #ARGV[1] + 1)
  for _, id in ipairs(redis.call('HKEYS', KEYS[index])) do
    local member = owner .. ':' .. id
    if redis.call('EXISTS', ARGV[2] .. member) == 0 then
      redis.call('HDEL', KEYS[index], id)
    elseif not known[member] and not redis.call('ZSCORE', leases, member) then
      redis.call('LPUSH', queue, member)
      found = found + 1
    end
  end
end
return found
"""
"""KEYS queue, leases, lists of open jobs; ARGV what the names of these begin with, before their owner's, and
prefix of every job's key. An open job that is in no queue and under no lease waits again: its name was altered there.
`TAKE` says what it is worth."""

TAKE = (
    _NOW
    + _READ
    + """
local queue, leases = unpack(KEYS)
local token, lease, prefix = unpack(ARGV)
while true do
  local late = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 1)[1]
  local member = late or redis.call('LINDEX', queue, -1)
  if not member then return false end
  local job, cut = prefix .. member, string.find(member, ':', 1, true) or 0
  local owner, id = string.sub(member, 1, cut - 1), string.sub(member, cut + 1)
  local state = field(job, 'state')
  local open = state == 'queued' or state == 'running'
  if open or (redis.call('TYPE', job).ok == 'hash' and redis.call('PTTL', job) == -1) then
    local task, created, request, sum, tries, started, seal =
      unpack(redis.call('HMGET', job, 'task', 'created', 'request', 'sum', 'tries', 'started', 'seal'))
    local sound = open and whole(created) and whole(tries) and (not started or whole(started))
      and seal == sealed(id, task, created) and goes(job, id) and (sum or not request)
    if late then redis.call('ZREM', leases, member) else redis.call('RPOP', queue) end
    redis.call('HSET', job, 'state', 'running', 'token', token, 'lease', lease)
    if not whole(started) then redis.call('HSET', job, 'started', now) end
    if not whole(tries) then redis.call('HSET', job, 'tries', 0) end
    if not sound then
      sum = 'altered'
      redis.call('HSET', job, 'sum', sum)
    end
    redis.call('ZADD', leases, now + tonumber(lease), member)
    tries = redis.call('HINCRBY', job, 'tries', 1)
    went(job, id, true)
    return {member, tries, now, task, created, seal, request, sum}
  end
  if late then redis.call('ZREM', leases, member) else redis.call('RPOP', queue) end
  redis.call('HDEL', prefix .. 'open:' .. owner, id)
end
"""
)
"""KEYS queue, leases; ARGV token, milliseconds of a lease, prefix of every job's key. A job that is not open has a
time to live: one without was altered while it waited or ran. One whose fields were altered has from now on a checksum
that no request has."""

RENEW = (
    _NOW
    + """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[3]), ARGV[2])
return 1
"""
)
"""KEYS job, leases; ARGV token, member, milliseconds of a lease."""

FINISH = (
    _NOW
    + _READ
    + _ENDED
    + """
local job, leases, open, index = unpack(KEYS)
local token, member, id, ttl, state, status, media, headers, sum, name, body = unpack(ARGV)
if redis.call('HGET', job, 'token') ~= token then return 0 end
local before = goes(job, id)
redis.call('HSET', job, 'state', state, 'finished', now, 'status', status, 'media', media, 'headers', headers,
  'result_sum', sum, name, body)
went(job, id, before)
ended(job, open, index, id, ttl)
redis.call('ZREM', leases, member)
return 1
"""
)
"""KEYS job, leases, open, index; ARGV token, member, id, milliseconds that it is kept, state, status, media type,
headers, checksum of these and the body, field that takes the body, body."""

MAKE_ROOM = """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
return redis.call('HDEL', KEYS[1], 'request', 'sum')
"""
"""KEYS job; ARGV token."""

GIVE_BACK = (
    _READ
    + """
local job, leases, queue = unpack(KEYS)
local token, member, id = unpack(ARGV)
if redis.call('HGET', job, 'token') ~= token then return 0 end
redis.call('ZREM', leases, member)
local before = goes(job, id)
redis.call('HDEL', job, 'token', 'lease')
redis.call('HSET', job, 'state', 'queued')
redis.pcall('HINCRBY', job, 'tries', -1)
went(job, id, before)
redis.call('RPUSH', queue, member)
return 1
"""
)
"""KEYS job, leases, queue; ARGV token, member, id."""

DELETE = (
    _NOW
    + _READ
    + _ENDED
    + """
local job, leases, open, index, queue = unpack(KEYS)
local member, id, ttl = unpack(ARGV, 1, 3)
if redis.call('EXISTS', job) == 0 then return {'unknown'} end
local state, lives = field(job, 'state'), redis.call('PTTL', job)
if state == 'queued' or state == 'running' then
  local before = goes(job, id)
  ended(job, open, index, id, ttl)
  redis.call('HSET', job, 'state', 'cancelled', 'finished', now)
  went(job, id, before)
  redis.call('ZREM', leases, member)
  redis.call('LREM', queue, -1, member)
  return {'cancelled', redis.call('HMGET', job, unpack(ARGV, 4))}
end
if lives == -1 then
  ended(job, open, index, id, ttl)
  redis.call('ZREM', leases, member)
  redis.call('LREM', queue, -1, member)
end
local idem = field(job, 'idem')
if idem and named(idem, id) then redis.call('DEL', idem) end
redis.call('DEL', job)
redis.call('ZREM', index, id)
return {'forgotten'}
"""
)
"""KEYS job, leases, open, index, queue; ARGV member, id, milliseconds that a cancelled job is kept, fields that are
told of it."""

FREE = (
    _READ
    + """
local idem = field(KEYS[1], 'idem')
if idem and named(idem, ARGV[1]) then redis.call('DEL', idem) end
return redis.call('HDEL', KEYS[1], 'idem')
"""
)
"""KEYS job; ARGV id: the caller's key may be sent again, for another job."""
