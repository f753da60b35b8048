import {
  SessionDestroyedException,
  SessionLeaseLostException,
  SessionRequestClosedException,
} from '../exceptions/session.exception.js';
import type { HeldLock } from '../storage/held-lock.js';
import type { LockWait } from '../storage/lock-line.js';
import type { SessionRecord, SessionWrite } from '../storage/session-backend.js';
import type { SessionManager } from './session-manager.js';

/**
 * The stored side of one session in use: its record, as far as this request knows it, and its lock, while it is
 * held. Keeps the two in step with the storage.
 */
export class StoredSession {
  /** As it was read or written last; undefined for a session that is not stored. */
  record: SessionRecord | undefined;
  /** The storage has said that the session is gone, or its lock another's: this request is no part of it any more. */
  isLost = false;
  private lock: HeldLock | undefined;
  private key = '';

  constructor(private readonly manager: SessionManager) {}

  get isLocked(): boolean {
    return this.lock !== undefined;
  }

  /** @returns whether there is such a session */
  async read(key: string): Promise<boolean> {
    await this.settle();
    const record = await this.manager.backend.read(key);
    return this.found(key, record);
  }

  /**
   * Waits until what the lock's holders before left is stored.
   * @returns undefined if it is
   * @throws SessionDestroyedException, SessionLeaseLostException: what was read here is lost
   */
  settle(): Promise<void> | undefined {
    const unsettled = this.lock?.unsettled;
    return unsettled && this.expectStored(unsettled);
  }

  /**
   * Takes the lock, and the record as it is then.
   * @returns whether there is such a session
   */
  async acquire(key: string, wait: LockWait): Promise<boolean> {
    const lock = await this.manager.locks.acquire(key, wait);
    if (lock && wait.client?.isGone) {
      this.manager.background(lock.release());
      throw new SessionRequestClosedException();
    }
    this.lock = lock;
    return this.found(key, lock?.record);
  }

  /** @returns false if the key is taken */
  async create(key: string, write: SessionWrite, locked: boolean): Promise<boolean> {
    const { backend, locks } = this.manager;
    const lease = locked ? locks.newLease() : undefined;
    if (!(await backend.create(key, write, lease))) {
      return false;
    }
    const now = Date.now();
    const { data, owner, timeout, createdAt = now, ttl } = write;
    this.isLost = false;
    this.key = key;
    this.record = { data, owner, timeout, createdAt, expiresAt: now + ttl };
    this.lock = lease && locks.adopt(key, lease, this.record);
    return true;
  }

  /**
   * With the lock in hand.
   * @param options.release frees it in the same step
   * @throws SessionDestroyedException, SessionLeaseLostException: then nothing was stored
   */
  async save(write: SessionWrite, { release }: { release: boolean }): Promise<void> {
    const lock = this.lock!;
    if (release) {
      this.lock = undefined;
    }
    if (!(await (release ? lock.saveAndRelease(write) : lock.save(write)))) {
      throw await this.whyRefused();
    }
    this.record = lock.record;
  }

  /**
   * With the lock in hand: the record, as stored, goes to a new key, locked, and the old one is removed.
   * @returns false if the key is taken
   * @throws SessionDestroyedException, SessionLeaseLostException: then nothing was moved
   */
  async move(key: string, ttl: number): Promise<boolean> {
    await this.settle();
    const { backend } = this.manager;
    const { key: oldKey, lock: oldLock, record } = this;
    const { data, owner, timeout, createdAt } = record!;
    if (!(await this.create(key, { data, owner, timeout, createdAt, ttl }, true))) {
      return false;
    }
    try {
      // New first: a crash in between leaves two records, never none. And if someone destroyed the session
      // before, it must not live on under the new key, nor take what a later holder stored with it.
      if (!(await oldLock!.remove())) {
        throw await this.whyRefused(oldKey);
      }
    } catch (error) {
      await backend.delete(key).catch(() => undefined); // logged by the guarded backend
      this.lock!.forget();
      Object.assign(this, { key: oldKey, lock: oldLock, record });
      throw error;
    }
    return true;
  }

  /** @returns false if there is no such session any more */
  async touch(ttl: number): Promise<boolean> {
    await this.settle();
    const touched = await this.manager.backend.touch(this.key, ttl);
    if (touched) {
      this.expireIn(ttl);
    } else {
      this.isLost = true;
    }
    return touched;
  }

  /**
   * Frees the lock, if it is held, behind the caller's back.
   * @param ttl milliseconds from now for a new `expiresAt`
   */
  release(ttl?: number): void {
    if (this.lock) {
      this.manager.background(this.lock.release(ttl));
      this.lock = undefined;
      if (ttl !== undefined) {
        this.expireIn(ttl);
      }
    }
  }

  /** Frees the lock. */
  async releaseNow(): Promise<void> {
    await this.settle();
    const { lock } = this;
    this.lock = undefined;
    await lock?.release();
  }

  async delete(): Promise<void> {
    // Its failure is told to those who saved; what is destroyed must not wait for a storage that comes to itself.
    await this.lock?.unsettled?.catch(() => false);
    await this.manager.backend.delete(this.key);
    this.forget();
  }

  /** The record has been removed. */
  forget(): void {
    this.lock?.forget();
    this.lock = undefined;
    this.record = undefined;
    this.isLost = false;
  }

  private async expectStored(saving: Promise<boolean>): Promise<void> {
    if (!(await saving)) {
      throw await this.whyRefused();
    }
  }

  private async whyRefused(key = this.key): Promise<Error> {
    this.isLost = true;
    const exists = await this.manager.backend.read(key);
    return exists ? new SessionLeaseLostException() : new SessionDestroyedException();
  }

  /** What was known of a session that is gone stays known: it must not be taken for a new one, and created. */
  private found(key: string, record: SessionRecord | undefined): boolean {
    this.key = key;
    this.isLost = record === undefined;
    this.record = record ?? this.record;
    return record !== undefined;
  }

  private expireIn(ttl: number): void {
    this.record = { ...this.record!, expiresAt: Date.now() + ttl };
  }
}
