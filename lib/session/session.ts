import type { Defined, SessionKey, SessionValue, SessionValues } from './session-data.js';

/** Hears of a new session id. Both are secrets. */
export type SessionIdListener = (id: string, previousId: string) => void;

/**
 * The session of a request: a dictionary whose changes are stored before the response leaves. CherryPy's
 * `cherrypy.session`, whose names stand in brackets where they differ.
 *
 * Only the members below exist: assigning another property throws a `TypeError`.
 */
export interface Session extends Iterable<[SessionKey, SessionValue<SessionKey>]> {
  /** The value, or `fallback`, or undefined. */
  get<K extends SessionKey>(key: K): SessionValue<K> | undefined;
  get<K extends SessionKey>(key: K, fallback: Defined<SessionValue<K>>): Defined<SessionValue<K>>;
  get<K extends SessionKey, F>(key: K, fallback: F): Defined<SessionValue<K>> | F;
  set<K extends SessionKey>(key: K, value: SessionValue<K>): this;
  has(key: SessionKey): boolean;
  /** @returns whether there was one */
  delete(key: SessionKey): boolean;
  /**
   * Removes a key and returns its value, or `fallback`.
   * @throws RangeError if the key is missing and no fallback was given
   */
  pop<K extends SessionKey>(key: K): Defined<SessionValue<K>>;
  pop<K extends SessionKey, F>(key: K, fallback: F): Defined<SessionValue<K>> | F;
  /** The value; a missing one is set first. (`setdefault`) */
  setDefault<K extends SessionKey>(key: K, value: Defined<SessionValue<K>>): Defined<SessionValue<K>>;
  /** Sets each of the object's keys. */
  update(values: Partial<SessionValues>): this;
  /**
   * Keeps a message for the next page, e.g. `session.flash('info', 'Saved')`. Kept in the data under `flash`, with those of
   * connect-flash and @fastify/flash.
   * @throws TypeError if `flash` holds other data
   */
  flash(key: string, message: unknown): this;
  /** The messages that were kept under this key, oldest first. They are gone then. @throws TypeError */
  flashes(key: string): any[];
  /** Removes all keys. The session, its id and its owner stay. */
  clear(): void;
  keys(): SessionKey[];
  values(): SessionValue<SessionKey>[];
  entries(): [SessionKey, SessionValue<SessionKey>][];
  /** The number of keys. */
  readonly size: number;
  /** The data, never the id. */
  toJSON(): SessionValues;
  /** The same data as a plain object. Changes at any depth are noticed. */
  readonly data: SessionValues;

  /** The secret in the cookie. Do not log it. */
  readonly id: string;
  /** True if no stored session was found for this request. */
  readonly isNew: boolean;
  /** The id that the client sent, if any. (`originalid`) */
  readonly originalId: string | undefined;
  /** True if the client sent an id that is unknown or expired. */
  readonly missing: boolean;
  /** True if `regenerate()` gave it a new id during this request. */
  readonly regenerated: boolean;
  /** True while this request holds the session's lock. */
  readonly locked: boolean;
  /** True once the data has been read. */
  readonly loaded: boolean;
  /** When the session began; now, for one that is not stored. */
  readonly createdAt: Date;
  /** When the stored session expires unless it is used before. */
  readonly expiresAt: Date;
  /**
   * Idle timeout in minutes. Set it to give this session its own; undefined: as the option says.
   * @throws RangeError
   */
  get timeout(): number;
  set timeout(minutes: number | undefined);
  /**
   * Whether the session's cookie outlives the browser. Set it for this session alone ("remember me", ticked or not);
   * undefined: as the option says.
   * @throws TypeError for what is no boolean
   */
  get persistent(): boolean;
  set persistent(persistent: boolean | undefined);
  /** The account that the session belongs to, e.g. the user's id. */
  owner: string | undefined;

  /** Reads the session if that has not happened; with `locking: 'implicit'`, locks it first. */
  load(): Promise<void>;
  /** Reads it again; changes that were not saved are dropped. @throws SessionDestroyedException */
  reload(): Promise<void>;
  /**
   * Stores the changes now; the lock stays.
   * @throws SessionDestroyedException, SessionLeaseLostException, SessionStorageException,
   * SessionSerializationException, SessionSizeException
   */
  save(): Promise<void>;
  /** Moves `expiresAt`, writing no data. @throws SessionDestroyedException */
  touch(): Promise<void>;
  /** New id, same data; the old id is dead at once, and the cookie follows. Call it at every log-in. */
  regenerate(): Promise<void>;
  /** Removes the stored session and the cookie. Writing afterwards starts a new session. (`delete` and `expire`) */
  destroy(): Promise<void>;
  /** Removes the cookie only; the stored session stays until it expires. */
  expire(): void;
  /**
   * Waits for the lock and reads the session as it then is; what this request changed before is kept.
   * @param options.timeout seconds to wait; default: the option `lockTimeout`
   * @throws SessionLockTimeoutException, SessionDestroyedException
   */
  acquireLock(options?: { timeout?: number }): Promise<void>;
  /** Stores the changes and frees the lock. (`release_lock`) */
  releaseLock(): Promise<void>;
  /** Calls the listener whenever the id changes. (`id_observers`) @returns a function that stops it */
  onIdChange(listener: SessionIdListener): () => void;
}
