import type { Lease, SessionRecord, SessionWrite } from '../storage/session-backend.js';
import type { KeyQueue } from './key-queue.js';
import type { LockManager } from './lock-manager.js';

/**
 * A lock in hand, with the record as it was when it was taken, or as its holder wrote it since. It ends once: by
 * `saveAndRelease`, `release`, `remove`, `forget`, `giveBack`, or a save that is refused or fails.
 */
export class HeldLock {
  private isHeld = true;
  private renewedAt = Date.now();

  constructor(
    private readonly manager: LockManager,
    private readonly queue: KeyQueue,
    readonly lease: Lease,
    public record: SessionRecord,
  ) {}

  /**
   * Stores, and keeps the lock.
   * @returns false, with nothing stored and the lock ended, if the session is gone or the lock was lost
   */
  async save(write: SessionWrite): Promise<boolean> {
    let saved = false;
    try {
      saved = await this.store(write, false);
    } finally {
      if (!saved) {
        this.forget();
      }
    }
    return saved;
  }

  /**
   * Stores, and ends the lock in the same step. It is handed on once the record is stored.
   * @returns false, with nothing stored, if the session is gone or the lock was lost
   */
  async saveAndRelease(write: SessionWrite): Promise<boolean> {
    this.end();
    const keepsTurn = this.manager.mayHandOver(this.queue);
    let saved = false;
    try {
      saved = await this.store(write, !keepsTurn);
    } finally {
      void this.manager.next(this.queue, saved && keepsTurn ? this : undefined);
    }
    return saved;
  }

  /** Ends the lock. @param ttl milliseconds from now for a new `expiresAt` */
  async release(ttl?: number): Promise<void> {
    if (!this.isHeld) {
      return;
    }
    this.end();
    const { backend } = this.manager;
    let handOver = false;
    try {
      // Only a session that is still there is handed on: nothing was stored that would have shown it.
      handOver = this.manager.mayHandOver(this.queue) && (await backend.renew(this.queue.key, this.lease));
      if (!handOver) {
        await backend.unlock(this.queue.key, this.lease, ttl);
      }
    } catch (error) {
      this.manager.fail(this.queue, this.lease, error);
      throw error;
    } finally {
      await this.manager.next(this.queue, handOver ? this : undefined);
    }
  }

  /**
   * Removes the record, and ends the lock with it.
   * @returns false, with nothing removed, if the session is gone or the lock was lost
   */
  async remove(): Promise<boolean> {
    const removed = await this.manager.backend.delete(this.queue.key, this.lease);
    this.forget();
    return removed;
  }

  /** Ends the lock of a record that is gone, or another's: there is nothing to unlock. */
  forget(): void {
    if (this.isHeld) {
      this.end();
      void this.manager.next(this.queue);
    }
  }

  /** Ends the lock after a failure of the storage, which is asked to give it back until it answers. */
  giveBack(error: unknown): void {
    this.manager.fail(this.queue, this.lease, error);
    this.forget();
  }

  async renew(): Promise<void> {
    if (Date.now() - this.renewedAt < this.lease.ms / 4) {
      return;
    }
    // A lost lease shows when the save is refused; trouble with the storage is tried again until it lapses.
    if (await this.manager.backend.renew(this.queue.key, this.lease).catch(() => false)) {
      this.renewedAt = Date.now();
    }
  }

  private async store(write: SessionWrite, unlock: boolean): Promise<boolean> {
    try {
      const saved = await this.manager.backend.save(this.queue.key, write, this.lease, { unlock });
      if (saved) {
        const { data, owner, timeout, ttl } = write;
        const now = Date.now();
        this.renewedAt = now;
        this.record = { data, owner, timeout, createdAt: this.record.createdAt, expiresAt: now + ttl };
      }
      return saved;
    } catch (error) {
      this.manager.fail(this.queue, this.lease, error); // stored or not: the lock must not stay
      throw error;
    }
  }

  private end(): void {
    this.isHeld = false;
    this.manager.drop(this);
  }
}
