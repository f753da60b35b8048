import type { RequestMethod, Type } from '@nestjs/common';
import type { ExpressStore } from '../storage/express-store/express-store.js';
import type { SessionBackend } from '../storage/session-backend.js';

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

/** What is asked of TypeORM's `DataSource`; not by its own type, as TypeORM need not be installed. */
export interface TypeOrmDataSource {
  readonly isInitialized: boolean;
  readonly options: { readonly type: string };
}

/** Where express-session kept its sessions, as it was set up. */
export interface ExpressMigrationOptions {
  store: ExpressStore;
  /** Its `secret`: one, or several. */
  secret: string | string[];
  /** Its `name`. Default `'connect.sid'`. */
  name?: string;
  /** Its `cookie.path`. Default `'/'`. */
  path?: string;
  /** Its `cookie.domain`. */
  domain?: string;
}

export interface SessionModuleOptions {
  /** Where sessions are kept: a name, or a class or an instance that implements `SessionBackend`. Default `'ram'`. */
  storageType?: 'ram' | 'file' | 'postgresql' | 'memcached' | Type<SessionBackend> | SessionBackend;
  /** `'file'`: the folder to keep them in; created if missing. */
  storagePath?: string;
  /** `'ram'`: how many to keep at most; beyond it, the least recently used one goes. Default 1,000,000. */
  maxSessions?: number;
  /** `'postgresql'`: like `postgres://user:password@host:5432/database`. This, `connection` or `dataSource`. */
  url?: string;
  /** `'postgresql'`: TypeORM's options of a PostgreSQL connection, without `type`. */
  connection?: object;
  /** `'postgresql'`: the application's own DataSource, initialized; the application closes it. */
  dataSource?: TypeOrmDataSource;
  /** `'postgresql'`: the table to keep them in. Default `'nest_sessions'`. */
  tableName?: string;
  /** `'postgresql'`: the table's schema. Default: the connection's. */
  schema?: string;
  /** `'postgresql'`: make the table and its index if they are missing. Default true. */
  createTable?: boolean;
  /** `'memcached'`: `host:port`, or several. */
  servers?: string | string[];
  /** `'memcached'`: for servers that ask for it, with `password`. */
  username?: string;
  password?: string;
  /** `'memcached'`: what all keys begin with. Default `'session:'`. */
  keyPrefix?: string;
  /** Seconds that a call of the storage may take before the request is answered 503; not for `'ram'`. Default 5. */
  storageTimeout?: number;

  /** Name of the cookie. Default `'session_id'`. */
  name?: string;
  /** Path of the cookie. Default `'/'`. */
  path?: string;
  /** With `path` unset: the request header that names the cookie's path. Use only behind a proxy that sets it. */
  pathHeader?: string;
  /** Domain of the cookie. Default: none, the host alone. */
  domain?: string;
  /**
   * Cookies of the same name that an earlier configuration set with another path (default `'/'`) or domain (default:
   * none): they are cleared when a browser sends several.
   */
  clearAlso?: { path?: string; domain?: string }[];
  /** Idle timeout in minutes of the stored data and the cookie. Default 60. */
  timeout?: number;
  /** Absolute timeout in minutes since the session was created. Default: none. */
  lifetime?: number;
  /** False: the cookie goes when the browser closes (no Max-Age, no Expires). Default true. */
  persistent?: boolean;
  /** The cookie's Secure. `'auto'` (default): set when the request came over HTTPS, a trusted proxy counts. */
  secure?: boolean | 'auto';
  /** The cookie's HttpOnly. Default true. */
  httpOnly?: boolean;
  /** The cookie's SameSite. Default `'lax'`; false: none. */
  sameSite?: 'strict' | 'lax' | 'none' | false;
  /** The cookie's Partitioned. Default false. */
  partitioned?: boolean;
  /** The cookie's Priority. Default: none. */
  priority?: 'low' | 'medium' | 'high';
  /** Signs the cookie. Of several, the first signs and all verify, so that secrets can be rotated. 16 characters or more. */
  secret?: string | string[];

  /** Minutes between two sweeps of expired sessions; 0: no sweep. Default 5. */
  cleanFreq?: number;
  /**
   * `'implicit'` (default): locked from first use to commit. `'early'`: locked before guards run.
   * `'explicit'`: locked only by `acquireLock()`; a save without the lock merges key by key.
   */
  locking?: SessionLockingMode;
  /**
   * True: read the session of every request before its middleware runs, for middleware that uses `req.session` at
   * once. The route takes the lock. Default false.
   */
  eager?: boolean;
  /** False: leave `req.session` to others, such as express-session beside this package. Default true. */
  requestSession?: boolean;
  /** express-session's sessions, to be moved here when they are next used. */
  migrateFrom?: ExpressMigrationOptions;
  /** Seconds to wait for the lock before the request is answered 503. Default 30. */
  lockTimeout?: number;
  /** Seconds until the lock of a process that died lapses. Default 30. */
  leaseTime?: number;
  /** True: store every session that is accessed, and set its cookie, as CherryPy does. Default false. */
  saveUninitialized?: boolean;
  /** Seconds: an unchanged session is not touched again before they have passed. Default 0. */
  touchAfter?: number;
  /** Routes without a session. */
  exclude?: SessionExclude[];
  /** Bytes of serialized data that a session may take. Default 1 MiB. */
  maxSize?: number;
  /** Makes a session id: at least 128 random bits, 16 to 256 characters of A-Z a-z 0-9 - _ . ~ */
  generateId?: () => string;
  /**
   * Default `jsonPlusSerializer`: JSON, and Date, Map, Set, BigInt, Buffer, typed arrays, undefined, NaN, Infinity
   * and -0. `jsonSerializer`: what JSON takes, as with express-session.
   */
  serializer?: SessionSerializer;
  /** Logs every load, lock, save and sweep at debug level, by key. Default false. */
  debug?: boolean;
}

/** For `useClass` and `useExisting` of `forRootAsync`. */
export interface SessionOptionsFactory {
  createSessionOptions(): Promise<SessionModuleOptions> | SessionModuleOptions;
}

/** The options with their defaults: what the package works with. Times in milliseconds say so. */
export interface ResolvedSessionOptions extends Required<
  Pick<
    SessionModuleOptions,
    | 'name'
    | 'path'
    | 'persistent'
    | 'secure'
    | 'httpOnly'
    | 'sameSite'
    | 'partitioned'
    | 'locking'
    | 'eager'
    | 'requestSession'
    | 'saveUninitialized'
    | 'exclude'
    | 'maxSize'
    | 'maxSessions'
    | 'generateId'
    | 'serializer'
    | 'debug'
    | 'storageType'
    | 'createTable'
  >
> {
  migrateFrom: ExpressMigrationOptions | undefined;
  pathHeader: string | undefined;
  domain: string | undefined;
  clearAlso: { path: string; domain: string | undefined }[];
  priority: 'low' | 'medium' | 'high' | undefined;
  storagePath: string | undefined;
  url: string | undefined;
  connection: object | undefined;
  dataSource: TypeOrmDataSource | undefined;
  tableName: string | undefined;
  schema: string | undefined;
  /** With commas in between. */
  servers: string;
  username: string | undefined;
  password: string | undefined;
  keyPrefix: string | undefined;
  storageTimeoutMs: number;
  /** First signs, all verify; empty: unsigned. */
  secrets: string[];
  /** Minutes. */
  timeout: number;
  lifetimeMs: number;
  cleanFreqMs: number;
  lockTimeoutMs: number;
  leaseMs: number;
  touchAfterMs: number;
  /** Whether ids come from the application's own `generateId`. */
  customId: boolean;
}
