import { SessionDestroyedException, SessionLeaseLostException } from '../exceptions/session.exception.js';
import type { HeldLock } from '../locking/held-lock.js';
import type { LockWait } from '../locking/key-queue.js';
import type { SessionRecord, SessionWrite } from '../storage/session-backend.js';
import type { SessionRuntime } from './session-runtime.js';

/**
 * What is known of the record, and whose the lock is. Each state has what is valid in it, and nothing else; see the
 * table in docs/ARCHITECTURE.md.
 */
export type RecordState =
  /** Not asked for yet. */
  | { name: 'unread' }
  /** There is none: no id, an unknown one, or it was destroyed by this request. */
  | { name: 'new' }
  /** As it was read without the lock, or left when the lock was given back. */
  | { name: 'read'; record: SessionRecord }
  /** This request's alone; its record is the lock's. */
  | { name: 'held'; lock: HeldLock }
  /** Gone, or another's by now. `record`: as it was last known; none if it ended while this request waited. */
  | { name: 'ended'; reason: Error; record: SessionRecord | undefined }
  /** A write failed: it may be stored or not. The lock is being given back. */
  | { name: 'unsure'; record: SessionRecord | undefined; written: string | undefined };

const UNREAD: RecordState = { name: 'unread' };
const NEW: RecordState = { name: 'new' };

/**
 * The record of one session in use, and its lock. Not for calls at the same time: `OpenSession` makes one after the
 * other. Knows nothing of the data that the application works with.
 */
export class RecordHandle {
  private state: RecordState = UNREAD;
  /** Of the record, once there is one. */
  private key = '';

  constructor(private readonly runtime: SessionRuntime) {}

  get name(): RecordState['name'] {
    return this.state.name;
  }

  /** As it was read or written last; undefined for a session that is not stored. */
  get record(): SessionRecord | undefined {
    const { state } = this;
    return state.name === 'held' ? state.lock.record : 'record' in state ? state.record : undefined;
  }

  /** What a write of this request that failed may have stored. */
  get written(): string | undefined {
    return this.state.name === 'unsure' ? this.state.written : undefined;
  }

  /** Why changes cannot be stored any more. */
  get endedBy(): Error | undefined {
    return this.state.name === 'ended' ? this.state.reason : undefined;
  }

  /** There is nothing to read. */
  begin(): void {
    this.state = NEW;
  }

  /** What was read is not to be used: as if there were nothing. */
  discard(): void {
    if (this.record) {
      this.state = NEW;
    }
  }

  /** Reads the record, without the lock or with the one that is held. */
  async read(key: string): Promise<void> {
    const record = await this.runtime.backend.read(key);
    this.key = key;
    if (!record) {
      this.lose('absent');
    } else if (this.state.name === 'held') {
      this.state.lock.record = record;
    } else {
      this.state = { name: 'read', record };
    }
  }

  /**
   * Takes the lock, with the record as it is then. Where another request wrote between a write of this one that failed
   * and now, only a merge can help: under `exclusive` the session is taken over by the other.
   */
  async acquire(key: string, wait: LockWait, exclusive: boolean): Promise<void> {
    const outcome = await this.runtime.locks.acquire(key, wait);
    this.key = key;
    if (typeof outcome === 'string') {
      this.lose(outcome);
    } else if (wait.client?.givenUp) {
      this.runtime.background(outcome.release());
      throw wait.client.givenUp;
    } else if (exclusive && this.isOverwritten(outcome.record)) {
      this.runtime.background(outcome.release());
      this.state = { name: 'ended', reason: new SessionLeaseLostException(), record: outcome.record };
    } else {
      this.state = { name: 'held', lock: outcome };
    }
  }

  /** Inserts the record. @returns false if the key is taken */
  async create(key: string, write: SessionWrite, keepLock: boolean): Promise<boolean> {
    const { backend, locks } = this.runtime;
    const lease = keepLock ? locks.newLease() : undefined;
    this.key = key;
    try {
      if (!(await backend.create(key, write, lease))) {
        return false;
      }
    } catch (error) {
      if (lease) {
        locks.giveBack(key, lease);
      }
      this.state = { name: 'unsure', record: undefined, written: write.data };
      throw error;
    }
    const record = toRecord(write);
    this.state = lease ? { name: 'held', lock: locks.adopt(key, lease, record) } : { name: 'read', record };
    return true;
  }

  /**
   * With the lock in hand.
   * @param release frees it in the same step
   * @throws SessionDestroyedException, SessionLeaseLostException: then nothing was stored
   */
  async save(write: SessionWrite, release: boolean): Promise<void> {
    const lock = this.lock;
    const before = lock.record;
    let saved: boolean;
    try {
      saved = await (release ? lock.saveAndRelease(write) : lock.save(write));
    } catch (error) {
      this.state = { name: 'unsure', record: before, written: write.data };
      throw error;
    }
    if (!saved) {
      throw await this.end(before);
    }
    if (release) {
      this.state = { name: 'read', record: lock.record };
    }
  }

  /** @returns false if there is no such session any more */
  async touch(ttl: number): Promise<boolean> {
    const record = this.record!;
    if (!(await this.runtime.backend.touch(this.key, ttl))) {
      this.lose('absent');
      return false;
    }
    const touched = { ...record, expiresAt: Date.now() + ttl };
    if (this.state.name === 'held') {
      this.state.lock.record = touched;
    } else {
      this.state = { name: 'read', record: touched };
    }
    return true;
  }

  /** Frees the lock, if it is held. @param ttl milliseconds from now for a new `expiresAt` */
  release(ttl?: number): Promise<void> | undefined {
    if (this.state.name !== 'held') {
      return undefined;
    }
    const { lock } = this.state;
    const record = ttl === undefined ? lock.record : { ...lock.record, expiresAt: Date.now() + ttl };
    this.state = { name: 'read', record };
    return lock.release(ttl);
  }

  /**
   * With the lock in hand: the record, as stored, goes to a new key, locked, and the old one is removed. The new one is
   * made first: at any time, at least one of the two is there.
   * @returns false if the key is taken
   * @throws SessionDestroyedException, SessionLeaseLostException: then nothing was moved
   */
  async move(key: string, ttl: number): Promise<boolean> {
    const { backend, locks, options } = this.runtime;
    const { lock: old, key: oldKey } = this;
    const { data, owner, timeout, createdAt } = old.record;
    const write = { data, owner, timeout, createdAt, ttl, isFreshKey: !options.customId };
    const lease = locks.newLease();
    try {
      if (!(await backend.create(key, write, lease))) {
        return false;
      }
    } catch (error) {
      // There may be a second one now, under an id that nobody will ever know.
      await backend.delete(key).catch(() => locks.giveBack(key, lease));
      throw error;
    }
    const moved = locks.adopt(key, lease, toRecord(write));
    let removed: boolean;
    try {
      removed = await old.remove();
    } catch (error) {
      old.giveBack(error);
      // Its answer is lost: what is there now tells what was done. Where that fails too, both stay.
      const isLeft = await backend.read(oldKey).then(Boolean, () => undefined);
      if (isLeft !== false) {
        await this.dropNew(key, moved, isLeft === true);
        this.state = { name: 'unsure', record: old.record, written: undefined };
        throw error;
      }
      removed = true;
    }
    if (!removed) {
      // Somebody has ended the session, or taken it over: it must not live on under the new key.
      await this.dropNew(key, moved, true);
      throw await this.end(old.record);
    }
    this.key = key;
    this.state = { name: 'held', lock: moved };
    return true;
  }

  /** Removes the record, whoever has its lock. */
  async delete(key: string): Promise<void> {
    try {
      await this.runtime.backend.delete(key);
    } catch (error) {
      if (this.state.name === 'held') {
        this.state.lock.giveBack(error);
      }
      this.state = { name: 'unsure', record: this.record, written: undefined };
      throw error;
    }
    this.forget();
  }

  /** The record is gone, or is to be left alone: what is written from now on is a new session's. */
  forget(): void {
    if (this.state.name === 'held') {
      this.state.lock.forget();
    }
    this.state = NEW;
  }

  private get lock(): HeldLock {
    if (this.state.name !== 'held') {
      throw new Error(`The session is ${this.state.name}, not held`); // a fault of this package
    }
    return this.state.lock;
  }

  /** The storage has no such record (any more). */
  private lose(how: 'absent' | 'ended'): void {
    const { record } = this;
    if (this.state.name === 'held') {
      this.state.lock.forget();
    }
    this.state =
      how === 'ended' || record ? { name: 'ended', reason: new SessionDestroyedException(), record } : NEW;
  }

  /** The storage has refused: the session is gone, or the lock another's. @returns which */
  private async end(record: SessionRecord): Promise<Error> {
    // Without an answer, what is certain is that the lock is lost.
    const exists = await this.runtime.backend.read(this.key).catch(() => true);
    const reason = exists ? new SessionLeaseLostException() : new SessionDestroyedException();
    this.state = { name: 'ended', reason, record };
    return reason;
  }

  private isOverwritten(record: SessionRecord): boolean {
    const { state } = this;
    return state.name === 'unsure' && record.data !== state.written && record.data !== state.record?.data;
  }

  private async dropNew(key: string, lock: HeldLock, remove: boolean): Promise<void> {
    const isGone = remove && (await this.runtime.backend.delete(key).catch(() => false));
    if (isGone) {
      lock.forget();
    } else {
      this.runtime.background(lock.release());
    }
  }
}

function toRecord({ data, owner, timeout, createdAt, ttl }: SessionWrite): SessionRecord {
  const now = Date.now();
  return { data, owner, timeout, createdAt: createdAt ?? now, expiresAt: now + ttl };
}
