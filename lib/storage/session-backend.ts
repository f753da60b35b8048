/** What a session has of its own beside its data; undefined: as the options say. */
export interface SessionSettings {
  /** The account the session belongs to, if the application said so. */
  owner?: string | undefined;
  /** Minutes of this session's own idle timeout. */
  timeout?: number | undefined;
  /** Whether this session's cookie outlives the browser. */
  persistent?: boolean | undefined;
}

/**
 * What a backend stores under a key. Times are milliseconds since 1970 by this process' clock: where the storage's own
 * decides when a record expires, and may differ, the backend converts. A storage keeps the version of the format with it,
 * and rejects a record whose version it does not know: that is trouble, not absence.
 */
export interface SessionRecord extends SessionSettings {
  /** The serialized data; opaque to a backend. */
  data: string;
  createdAt: number;
  expiresAt: number;
  /** When it was stored or touched last: created, saved, touched, or unlocked with a new time to live. Without one: `createdAt`. */
  lastUsedAt: number;
}

/** What is written: the storage turns `ttl` into `expiresAt` by its own clock. */
export interface SessionWrite extends SessionSettings {
  data: string;
  /** When the session began, as its record says; undefined for one that begins now. */
  createdAt?: number | undefined;
  /** Milliseconds from now until the record expires. */
  ttl: number;
  /** `create`: the key comes from 256 random bits that were just drawn, so that none can be there under it. */
  isFreshKey?: boolean;
  /** `create`: the key of a record that this one is to take the place of, and that is removed next. */
  replaces?: string;
}

/** A claim on one key's lock: who claims, and for how long without a renewal. Only ever used by one backend object. */
export interface Lease {
  /** Unique; characters A-Z a-z 0-9 _ - only. */
  readonly token: string;
  /** Milliseconds until the lock lapses if it is not renewed. */
  readonly ms: number;
}

/**
 * The storage contract. Every method is atomic on its key, also against other processes that share the
 * storage. An expired record is an absent one, whether or not it has been swept. Failures of the storage
 * reject; they are never reported as an absent record.
 *
 * Keys are 43 characters (A-Z a-z 0-9 _ -): the hash of a session id, which a backend never sees.
 */
export interface SessionBackend {
  /** True when no other process can reach the storage, so that no turn has to be left to others. */
  readonly inProcess?: boolean;

  /** The record, without a lock. */
  read(key: string): Promise<SessionRecord | undefined>;

  /**
   * Only where the storage can tell: calls the listener with the key when a lock was freed, or its record removed, by
   * any process. May tell too often, and may miss some: whoever waits tries again by itself after some seconds.
   * Called once, before anything else.
   */
  onFreed?(listener: (key: string) => void): void;

  /**
   * Takes the lock if it is free or has lapsed, and reads the record, without waiting.
   * @returns the record; `'busy'` if another lease holds the lock; `undefined` if there is no record
   * (then nothing is locked).
   */
  lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined>;

  /** Restarts the lease's time. @returns false if the lease was lost or the record is gone. */
  renew(key: string, lease: Lease): Promise<boolean>;

  /**
   * Frees the lock, if this lease still holds it; otherwise does nothing.
   * @param ttl milliseconds from now for a new `expiresAt`, set in the same step
   */
  unlock(key: string, lease: Lease, ttl?: number): Promise<void>;

  /** Moves `expiresAt` to `ttl` milliseconds from now, lock or no lock. @returns false if there is no record. */
  touch(key: string, ttl: number): Promise<boolean>;

  /**
   * Inserts a record; the only method that does.
   * @param lease takes the new record's lock in the same step
   * @returns false if the key is taken
   */
  create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean>;

  /**
   * Replaces an existing record, all but its `createdAt`, while this lease holds its lock.
   * Saving restarts the lease's time, or frees the lock with `unlock`.
   * @returns false, and writes nothing, if the record is gone or the lease was lost
   */
  save(key: string, write: SessionWrite, lease: Lease, options: { unlock: boolean }): Promise<boolean>;

  /**
   * Removes the record at once, whoever holds its lock; that holder can save no more.
   * @param lease removes it only while this lease holds its lock
   * @returns whether there was one to remove
   */
  delete(key: string, lease?: Lease): Promise<boolean>;

  /**
   * Removes what has expired. Must not keep the event loop busy.
   * @param signal ends it early, where it may take long
   * @returns how many records
   */
  cleanUp(signal?: AbortSignal): Promise<number>;

  /** Lets go of what this backend opened. Called once, last. */
  close(): Promise<void>;

  /** The number of records. */
  count?(): Promise<number>;

  /**
   * A page of all records, in an order of their keys that stays the same. One that gets another key meanwhile may be on
   * two pages, or on none. One that a later version stored is left out.
   * @param after only those whose key comes after this one
   * @param limit how many at most; fewer than that: there are no more
   */
  list?(after: string | undefined, limit: number): Promise<StoredRecord[]>;

  /** The records of an owner, oldest first, but for those that a later version stored. */
  findByOwner?(owner: string): Promise<StoredRecord[]>;

  /**
   * Stores a record that was not its owner's before, as `create` or `save` does, but keeps its owner to a limit. Exact, as
   * long as all processes ask this way: at no time has an owner more records than the limit allows, but for one whose key
   * is changing, which is there twice.
   * @returns as `create` or `save`; `'refused'`, with nothing written or removed, if the limit refuses it
   */
  admit?(admission: Admission, limit: OwnerLimit): Promise<boolean | 'refused'>;

  /**
   * Removes the records of an owner, as `delete` does.
   * @param options.except keep this key
   * @param options.only remove this key alone, if it is the owner's
   * @returns how many
   */
  deleteByOwner?(owner: string, options?: OwnerSelection): Promise<number>;
}

/** How many records an owner may have, and what happens where one more comes. */
export interface OwnerLimit {
  max: number;
  /** True: it is refused. False: the owner's oldest ones, by `createdAt`, are removed, as `delete` does. */
  refuses: boolean;
}

/** What is stored: the parameters of `create`, or with `save` those of `save`. */
export type Storing<Write extends SessionWrite = SessionWrite> = { key: string; write: Write } & (
  { lease: Lease | undefined; save?: undefined } | { lease: Lease; save: { unlock: boolean } }
);

/** A record that becomes an owner's. */
export type Admission = Storing<SessionWrite & { owner: string }>;

export interface OwnerSelection {
  except?: string | undefined;
  only?: string | undefined;
}

export interface StoredRecord {
  key: string;
  record: SessionRecord;
}
