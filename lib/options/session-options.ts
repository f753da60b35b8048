import type { RequestMethod } from '@nestjs/common';
import {
  checkClearAlso,
  checkCookieName,
  checkDomain,
  checkPath,
  checkPathHeader,
  DEFAULT_NAME,
} from './cookie-options.js';
import { checkExclude } from './exclude-option.js';
import { checkGenerateId, generateSessionId } from './generate-id-option.js';
import { jsonPlusSerializer } from './json-plus.serializer.js';
import { checkMigration, type ExpressMigrationOptions } from './migration-options.js';
import { bool, MAX_SECONDS, number, oneOf, option, type Given, type Resolved } from './option.js';
import { checkSecret } from './secret-option.js';
import { DEFAULT_MAX_SIZE } from './size-limit.js';

/** When the lock of a session is taken. */
export type SessionLockingMode = 'implicit' | 'early' | 'explicit';

/** Turns session data into a string and back. */
export interface SessionSerializer {
  /** @throws SessionSerializationException for a value that would not come back as it is */
  stringify(data: Record<string, unknown>): string;
  parse(text: string): Record<string, unknown>;
}

/** A route to leave alone: a path as `path-to-regexp` reads it, for all methods or one. */
export type SessionExclude = string | { path: string; method?: RequestMethod };

/** The options that all storages have in common. */
export const sessionOptions = {
  /** Name of the cookie. Default `'session_id'`. */
  name: option<string, string>(checkCookieName, (name = DEFAULT_NAME) => name),
  /** Path of the cookie. Default `'/'`. */
  path: option<string, string>(checkPath, (path = '/') => path),
  /** With `path` unset: the request header that names the cookie's path. Use only behind a proxy that sets it. */
  pathHeader: option<string, string | undefined>(checkPathHeader, header => header?.toLowerCase()),
  /** Domain of the cookie. Default: none, the host alone. */
  domain: option<string>(checkDomain),
  /**
   * Cookies of the same name that an earlier configuration set with another path (default `'/'`) or domain (default:
   * none): they are cleared when a browser sends several.
   */
  clearAlso: option<{ path?: string; domain?: string }[], { path: string; domain: string | undefined }[]>(
    checkClearAlso,
    (places = []) => places.map(({ path = '/', domain }) => ({ path, domain })),
  ),
  /** Idle timeout in minutes of the stored data and the cookie. Default 60. */
  timeout: number({ above: 0, unit: 'minutes', default: 60 }),
  /** Absolute timeout in minutes since the session was created. Default: none. */
  lifetime: number({ above: 0, unit: 'minutes', default: Infinity }),
  /** False: the cookie goes when the browser closes (no Max-Age, no Expires). Default true. */
  persistent: bool(true),
  /** The cookie's Secure. `'auto'` (default): set when the request came over HTTPS, a trusted proxy counts. */
  secure: oneOf([true, false, 'auto'], 'auto'),
  /** The cookie's HttpOnly. Default true. */
  httpOnly: bool(true),
  /** The cookie's SameSite. Default `'lax'`; false: none. */
  sameSite: oneOf(['strict', 'lax', 'none', false], 'lax'),
  /** The cookie's Partitioned. Default false. */
  partitioned: bool(false),
  /** The cookie's Priority. Default: none. */
  priority: oneOf(['low', 'medium', 'high'], undefined),
  /** Signs the cookie. Of several, the first signs and all verify, so that secrets can be rotated. 16 characters or more. */
  secret: option<string | string[], string[]>(checkSecret, (secret = []) => [secret].flat()),

  /** Minutes between two sweeps of expired sessions; 0: no sweep. Default 5. */
  cleanFreq: number({ min: 0, max: MAX_SECONDS / 60, unit: 'minutes, 0 for none', default: 5 }),
  /**
   * `'implicit'` (default): locked from first use to commit. `'early'`: locked before guards run.
   * `'explicit'`: locked only by `acquireLock()`; a save without the lock merges key by key.
   */
  locking: oneOf<SessionLockingMode, SessionLockingMode>(['implicit', 'early', 'explicit'], 'implicit'),
  /**
   * True: read the session of every request before its middleware runs, for middleware that uses `req.session` at
   * once. The route takes the lock. Default false.
   */
  eager: bool(false),
  /** False: leave `req.session` to others, such as express-session beside this package. Default true. */
  requestSession: bool(true),
  /** express-session's sessions, to be moved here when they are next used. */
  migrateFrom: option<ExpressMigrationOptions>(checkMigration),
  /** Seconds to wait for the lock before the request is answered 503. Default 30. */
  lockTimeout: number({ min: 0, max: MAX_SECONDS, unit: 'seconds', default: 30 }),
  /** How many requests may wait for one session in this process; the next one is answered 503 at once. Default 200. */
  maxWaiters: number({ above: 0, integer: true, unit: 'requests', default: 200 }),
  /** Seconds until the lock of a process that died lapses. Default 30. */
  leaseTime: number({ min: 0.1, max: MAX_SECONDS, unit: 'seconds', default: 30 }),
  /**
   * How many sessions one owner may have at a time. Default: any number. Needs a storage that knows owners: `'ram'`,
   * `'file'`, `'postgresql'` or `'redis'`.
   */
  maxSessionsPerOwner: number({ above: 0, integer: true, unit: 'sessions', default: Infinity }),
  /**
   * What happens where one more session gets an owner who has `maxSessionsPerOwner` already. `'endOldest'` (default): the
   * one that began first ends. `'refuse'`: nothing of the new one is stored, and the request is answered 403.
   */
  beyondMaxSessions: oneOf(['endOldest', 'refuse'], 'endOldest'),
  /** True: store every session that is accessed, and set its cookie, as CherryPy does. Default false. */
  saveUninitialized: bool(false),
  /** Seconds: an unchanged session is not touched again before they have passed. Default 0. */
  touchAfter: number({ min: 0, unit: 'seconds', default: 0 }),
  /** Routes without a session. */
  exclude: option<SessionExclude[], SessionExclude[]>(checkExclude, (exclude = []) => exclude),
  /**
   * Bytes of serialized data that a session may take, with its owner; more throws. Default 1 MiB. A stored session that is
   * larger counts as missing if it is also larger than 1 MiB: a smaller `maxSize` loses none of before.
   */
  maxSize: number({ above: 0, integer: true, unit: 'bytes', default: DEFAULT_MAX_SIZE }),
  /** Makes a session id: at least 128 random bits, 16 to 256 characters of A-Z a-z 0-9 - _ . ~ */
  generateId: option<() => string, () => string>(checkGenerateId, (generate = generateSessionId) => generate),
  /**
   * Default `jsonPlusSerializer`: JSON, and Date, Map, Set, BigInt, Buffer, typed arrays, undefined, NaN, Infinity
   * and -0. `jsonSerializer`: what JSON takes, as with express-session.
   */
  serializer: option<SessionSerializer, SessionSerializer>(
    checkSerializer,
    (serializer = jsonPlusSerializer) => serializer,
  ),
  /** Logs every load, lock, save and sweep at debug level, by key. Default false. */
  debug: bool(false),
};

/** The options that all storages have in common. */
export interface SessionOptions extends Given<typeof sessionOptions> {}

/** The options with their defaults: what the package works with. */
export interface ResolvedSessionOptions extends Resolved<typeof sessionOptions> {}

function checkSerializer(serializer: unknown): string | undefined {
  const { stringify, parse } = (serializer ?? {}) as Record<string, unknown>;
  return typeof stringify === 'function' && typeof parse === 'function'
    ? undefined
    : 'must have the functions stringify(data) and parse(text)';
}
