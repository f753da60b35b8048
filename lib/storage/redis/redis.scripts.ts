import { createHash } from 'node:crypto';
import { RECORD_FORMAT } from '../record-format.js';

/** A script of the server's: it runs as one step, on one key. */
export interface RedisScript {
  readonly text: string;
  /** What the server calls it once it has seen its text. */
  readonly sha: string;
}

/** What begins each script: the server's clock, in milliseconds, and what several of them need. */
const COMMON = `
local key = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- 'session', 'damaged' (another program's, or cut short) or 'absent'
local function found()
  local kind = redis.call('TYPE', key).ok
  if kind == 'none' then return 'absent' end
  if kind ~= 'hash' then return 'damaged' end
  local times = redis.call('HMGET', key, 'createdAt', 'expiresAt')
  local isWhole = tonumber(times[1]) and tonumber(times[2]) and redis.call('HEXISTS', key, 'data') == 1
  return isWhole and redis.call('PTTL', key) >= 0 and 'session' or 'damaged'
end

local function isHeldBy(token)
  return found() == 'session' and redis.call('HGET', key, 'token') == token
end

-- Wakes the processes that wait for the lock. Not where it is refused: what it follows has been done.
local function wake()
  redis.pcall('PUBLISH', string.sub(key, 1, -44) .. 'freed', string.sub(key, -43))
end

local function free()
  redis.call('HDEL', key, 'token', 'lockedUntil')
  if redis.call('HDEL', key, 'waited') == 1 then wake() end
end

local function remove()
  local isWaited = redis.call('HEXISTS', key, 'waited') == 1
  redis.call('DEL', key)
  if isWaited then wake() end
end

-- The owner whose index would forget the session before it expires, if it is to live on for so many milliseconds.
local function ownerWithoutHint(ttl)
  local owner, hint = unpack(redis.call('HMGET', key, 'owner', 'hint'))
  return owner and (tonumber(hint) or 0) < now + ttl and owner
end

-- Data that is larger than any session's is not sent: what comes instead is no data.
local rest = { 'format', 'timeout', 'persistent', 'createdAt', 'lastUsedAt', 'expiresAt' }
local function record(maxBytes)
  local isLarge = redis.call('HSTRLEN', key, 'data') > maxBytes or redis.call('HSTRLEN', key, 'owner') > maxBytes
  local read = isLarge and redis.call('HMGET', key, 'none', 'none', unpack(rest))
    or redis.call('HMGET', key, 'data', 'owner', unpack(rest))
  read[1] = read[1] or 'too large'
  read[9] = now
  return read
end
`;

function script(body: string): RedisScript {
  const text = COMMON + body;
  return { text, sha: createHash('sha1').update(text).digest('hex') };
}

/** What is given in pairs, from an argument on. */
const given = (from: number) => `
local given = {}
for i = ${from}, #ARGV, 2 do given[ARGV[i]] = ARGV[i + 1] end`;

// In each of them, what the server refuses when it is full comes first: then nothing has been done. Behind a first write, it
// refuses nothing.

/** ARGV: bytes at most. @returns the record, 'damaged' or 'absent' */
export const READ = script(`
local state = found()
return state == 'session' and record(tonumber(ARGV[1])) or state`);

/**
 * ARGV: token, milliseconds, bytes at most. @returns the record, 'damaged' or 'absent'; where another holds the lock, the
 * milliseconds until it lapses
 */
export const LOCK = script(`
local state = found()
if state ~= 'session' then return state end
local token, lockedUntil, format = unpack(redis.call('HMGET', key, 'token', 'lockedUntil', 'format'))
if token and token ~= ARGV[1] and (tonumber(lockedUntil) or 0) > now then
  redis.pcall('HSET', key, 'waited', 1)
  return lockedUntil - now
end
if (format or '${RECORD_FORMAT}') == '${RECORD_FORMAT}' then
  redis.call('HSET', key, 'token', ARGV[1], 'lockedUntil', now + ARGV[2])
end
return record(tonumber(ARGV[3]))`);

/** ARGV: token, milliseconds. @returns 1 or 0 */
export const RENEW = script(`
if not isHeldBy(ARGV[1]) then return 0 end
redis.call('HSET', key, 'lockedUntil', now + ARGV[2])
return 1`);

/** ARGV: token, time to live or ''. @returns the owner, if the time to live needs a hint before; then it stays */
export const UNLOCK = script(`
if not isHeldBy(ARGV[1]) then return false end
local owner = ARGV[2] ~= '' and ownerWithoutHint(ARGV[2])
if ARGV[2] ~= '' and not owner then
  local done = redis.pcall('HSET', key, 'lastUsedAt', now, 'expiresAt', now + ARGV[2])
  if type(done) == 'number' then redis.call('PEXPIREAT', key, now + ARGV[2]) end
end
free()
return owner`);

/** ARGV: time to live, hint or ''. @returns 1 or 0; or, in a list, the owner, if it needs a hint before */
export const TOUCH = script(`
if found() ~= 'session' then return 0 end
local owner = ARGV[2] == '' and ownerWithoutHint(ARGV[1])
if owner then return { owner } end
local expiresAt = now + ARGV[1]
redis.call('HSET', key, 'lastUsedAt', now, 'expiresAt', expiresAt, unpack(ARGV[2] ~= '' and { 'hint', ARGV[2] } or {}))
redis.call('PEXPIREAT', key, expiresAt)
return 1`);

/**
 * ARGV: token or '', milliseconds, time to live, createdAt or '', the process' time, the milliseconds by which clocks
 * differ before it counts, pairs. @returns 1 or 0
 */
export const CREATE = script(`
local state = found()
if state == 'session' then return 0 end
local createdAt = tonumber(ARGV[4]) or now
local ahead = now - ARGV[5]
if ARGV[4] ~= '' and math.abs(ahead) > tonumber(ARGV[6]) then createdAt = createdAt + ahead end
if state == 'damaged' then redis.call('DEL', key) end
local expiresAt = now + ARGV[3]
redis.call('HSET', key, 'format', ${RECORD_FORMAT}, 'createdAt', createdAt, 'lastUsedAt', now, 'expiresAt', expiresAt, unpack(ARGV, 7))
if ARGV[1] ~= '' then redis.call('HSET', key, 'token', ARGV[1], 'lockedUntil', now + ARGV[2]) end
redis.call('PEXPIREAT', key, expiresAt)
return 1`);

/**
 * ARGV: token, milliseconds, or '' to free the lock, time to live, pairs.
 * @returns 1 or 0; 'hint', and nothing is done, if the owner's index needs one before
 */
export const SAVE = script(`
if not isHeldBy(ARGV[1]) then return 0 end
${given(4)}
if given.owner and not given.hint then
  local owner, hint = unpack(redis.call('HMGET', key, 'owner', 'hint'))
  if owner ~= given.owner or (tonumber(hint) or 0) < now + ARGV[3] then return 'hint' end
end
local expiresAt = now + ARGV[3]
redis.call('HSET', key, 'lastUsedAt', now, 'expiresAt', expiresAt, 'format', ${RECORD_FORMAT}, unpack(ARGV, 4))
for _, name in ipairs({ 'owner', 'timeout', 'persistent' }) do
  if not given[name] then redis.call('HDEL', key, name) end
end
if ARGV[2] == '' then free() else redis.call('HSET', key, 'lockedUntil', now + ARGV[2]) end
redis.call('PEXPIREAT', key, expiresAt)
return 1`);

/** ARGV: token or ''. @returns whether there was one, its owner, its hint */
export const DELETE = script(`
local state = found()
if state ~= 'session' then
  if ARGV[1] == '' then redis.call('DEL', key) end
  return { 0 }
end
local token, owner, hint = unpack(redis.call('HMGET', key, 'token', 'owner', 'hint'))
if ARGV[1] ~= '' and token ~= ARGV[1] then return { 0 } end
remove()
return { 1, owner, hint }`);

/** ARGV: owner. @returns 1 or 0 */
export const DELETE_OWNED = script(`
if found() ~= 'session' or redis.call('HGET', key, 'owner') ~= ARGV[1] then return 0 end
remove()
return 1`);

/**
 * On the index of an owner: a sorted set of keys, by when they may be forgotten.
 * ARGV: key, milliseconds to remember it for, milliseconds of room. @returns the hint: when it may be forgotten
 */
export const HINT = script(`
redis.call('ZADD', key, 'GT', now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', key, '-inf', now - ARGV[3])
local life = ARGV[2] + ARGV[3]
if redis.call('PTTL', key) < life then redis.call('PEXPIRE', key, life) end
return redis.call('ZSCORE', key, ARGV[1])`);

/** On the index of an owner, ARGV: pairs of a key and its hint. One that was written since stays. */
export const FORGET = script(`
for i = 1, #ARGV, 2 do
  if redis.call('ZSCORE', key, ARGV[i]) == ARGV[i + 1] then redis.call('ZREM', key, ARGV[i]) end
end
return 1`);

/** On the lock of an owner, ARGV: token, milliseconds. @returns 1 or 0 */
export const CLAIM_OWNER = script(`
local token = redis.call('HGET', key, 'token')
if token and token ~= ARGV[1] then return 0 end
redis.call('HSET', key, 'token', ARGV[1])
redis.call('PEXPIRE', key, ARGV[2])
return 1`);

/** See CLAIM_OWNER. */
export const RENEW_OWNER = script(`
if redis.call('HGET', key, 'token') ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', key, ARGV[2])
return 1`);

/** See CLAIM_OWNER. */
export const RELEASE_OWNER = script(`
if redis.call('HGET', key, 'token') == ARGV[1] then redis.call('DEL', key) end
return 1`);

/** On a session's key and on an index', at the start: what the others do, so that a user who may not is told at once. */
export const CHECK = script(`
redis.call('HSET', key, 'data', '', 'createdAt', 1, 'expiresAt', now)
redis.call('PEXPIREAT', key, now + 1000)
found()
record(0)
ownerWithoutHint(0)
redis.call('HDEL', key, 'createdAt')
redis.call('DEL', key)
redis.call('PUBLISH', ARGV[1], '')
return 1`);

/** See CHECK. */
export const CHECK_INDEX = script(`
redis.call('ZADD', key, 'GT', now, 'a')
redis.call('ZREMRANGEBYSCORE', key, '-inf', 0)
redis.call('PEXPIRE', key, 1000)
redis.call('ZSCORE', key, 'a')
redis.call('ZREM', key, 'a')
return 1`);
