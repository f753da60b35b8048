import {
  SessionDestroyedException,
  SessionLeaseLostException,
  SessionLimitException,
} from '../exceptions/session.exception.js';
import { toRecord, type HeldLock } from '../locking/held-lock.js';
import type { LockWait } from '../locking/waiter.js';
import type { SessionRecord, SessionWrite } from '../storage/session-backend.js';
import { storeWithin } from '../storage/owner-limit.js';
import { usedNow } from '../storage/used-now.js';
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
  | { name: 'unsure'; record: SessionRecord | undefined; written?: string };

const UNREAD: RecordState = { name: 'unread' };
const NEW: RecordState = { name: 'new' };

/**
 * The record of one session in use, and its lock. Not for calls at the same time: `OpenSession` makes one after the
 * other. Knows nothing of the data that the application works with.
 */
export class RecordHandle {
  state: RecordState = UNREAD;
  /** Of the record, once there is one. */
  private key = '';

  constructor(private readonly runtime: SessionRuntime) {}

  /** As it was read or written last; undefined for a session that is not stored. */
  get record(): SessionRecord | undefined {
    const { state } = this;
    return state.name === 'held' ? state.lock.record : 'record' in state ? state.record : undefined;
  }

  /** Reads the record, without the lock or with the one that is held. */
  async read(key: string): Promise<void> {
    const record = await this.runtime.backend.read(key);
    this.key = key;
    if (record) {
      this.show(record);
    } else {
      this.lose('absent');
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

  /**
   * Inserts the record.
   * @returns false if the key is taken
   * @throws SessionLimitException if its owner has too many: then nothing was stored
   */
  async create(key: string, write: SessionWrite, keepLock: boolean): Promise<boolean> {
    const { backend, locks } = this.runtime;
    const lease = keepLock ? locks.newLease() : undefined;
    // One that moves has its owner already.
    const limit = write.replaces === undefined ? this.runtime.ownerLimit : undefined;
    let isCreated: boolean | 'refused';
    this.key = key;
    try {
      isCreated = await storeWithin(limit, backend, { key, write, lease });
    } catch (error) {
      locks.fail(key, lease, error);
      this.state = { name: 'unsure', record: undefined, written: write.data };
      throw error;
    }
    if (isCreated === 'refused') {
      throw new SessionLimitException();
    }
    if (!isCreated) {
      return false;
    }
    const record = toRecord(write);
    this.state = lease ? { name: 'held', lock: locks.adopt(key, lease, record) } : { name: 'read', record };
    return true;
  }

  /**
   * With the lock in hand.
   * @param release frees it in the same step
   * @throws SessionDestroyedException, SessionLeaseLostException, SessionLimitException: then nothing was stored
   */
  async save(write: SessionWrite, release: boolean): Promise<void> {
    const { lock } = this;
    const { record } = lock;
    const limit = write.owner === record.owner ? undefined : this.runtime.ownerLimit;
    let isSaved: boolean | 'refused';
    try {
      isSaved = await lock.save(write, release, limit);
    } catch (error) {
      this.state = { name: 'unsure', record, written: write.data };
      throw error;
    }
    if (isSaved === 'refused') {
      throw new SessionLimitException();
    }
    if (!isSaved) {
      throw await this.end(record);
    }
    if (release) {
      this.state = { name: 'read', record: lock.record };
    }
  }

  /** @returns false if there is no such session any more */
  async touch(ttl: number): Promise<boolean> {
    const record = this.record!;
    const isThere = await this.runtime.backend.touch(this.key, ttl);
    if (isThere) {
      this.show({ ...record, ...usedNow(ttl) });
    } else {
      this.lose('absent');
    }
    return isThere;
  }

  /** Frees the lock, if it is held. @param ttl milliseconds from now for a new `expiresAt` */
  release(ttl?: number): Promise<void> | undefined {
    if (this.state.name !== 'held') {
      return undefined;
    }
    const { lock } = this.state;
    const record = ttl === undefined ? lock.record : { ...lock.record, ...usedNow(ttl) };
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
    const { lock, runtime } = this;
    const { data, owner, timeout, persistent, createdAt } = lock.record;
    const isFreshKey = runtime.drawsIds;
    const write = { data, owner, timeout, persistent, createdAt, ttl, isFreshKey, replaces: this.key };
    const moved = new RecordHandle(runtime);
    // There may be a second one, under an id that nobody will ever know.
    const dropMoved = () => moved.delete(key).catch(() => undefined);
    try {
      if (!(await moved.create(key, write, true))) {
        return false;
      }
    } catch (error) {
      await dropMoved();
      throw error;
    }
    let isRemoved: boolean;
    try {
      isRemoved = await lock.remove();
    } catch (error) {
      lock.fail(error);
      // Its answer is lost: what is there now tells what was done. Where that fails too, both stay.
      const isLeft = await runtime.backend.read(this.key).then(Boolean, () => undefined);
      if (isLeft !== false) {
        await (isLeft ? dropMoved() : runtime.background(moved.release()));
        this.state = { name: 'unsure', record: lock.record };
        throw error;
      }
      isRemoved = true;
    }
    if (!isRemoved) {
      // Somebody has ended the session, or taken it over: it must not live on under the new key.
      await dropMoved();
      throw await this.end(lock.record);
    }
    this.key = key;
    this.state = moved.state;
    return true;
  }

  /** Removes the record, whoever has its lock. */
  async delete(key: string): Promise<void> {
    try {
      await this.runtime.backend.delete(key);
    } catch (error) {
      const { record } = this;
      if (this.state.name === 'held') {
        this.state.lock.fail(error);
      }
      this.state = { name: 'unsure', record };
      throw error;
    }
    this.forget();
  }

  /** There is no record, or it is to be left alone: what is written from now on is a new session's. */
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

  private show(record: SessionRecord): void {
    if (this.state.name === 'held') {
      this.state.lock.record = record;
    } else {
      this.state = { name: 'read', record };
    }
  }

  /** The storage has no such record (any more). */
  private lose(how: 'absent' | 'ended'): void {
    const { record } = this;
    this.forget();
    if (how === 'ended' || record) {
      this.state = { name: 'ended', reason: new SessionDestroyedException(), record };
    }
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
}
