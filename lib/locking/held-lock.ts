import type { Lease, OwnerLimit, SessionRecord, SessionWrite } from '../storage/session-backend.js';
import { storeWithin } from '../storage/owner-limit.js';
import { usedNow } from '../storage/used-now.js';
import type { KeyQueue } from './key-queue.js';
import type { LockManager } from './lock-manager.js';

/**
 * A lock in hand, with the record as it was when it was taken, or as its holder wrote it since. It ends once: by
 * `release`, `remove`, `forget`, `fail`, a save that releases it, or one that is refused or fails.
 */
export class HeldLock {
  /** By `performance.now()`, which nobody sets. */
  private renewedAt = performance.now();

  constructor(
    private readonly manager: LockManager,
    private readonly queue: KeyQueue,
    readonly lease: Lease,
    public record: SessionRecord,
  ) {}

  /**
   * Stores the record.
   * @param release ends the lock in the same step; it is handed on once the record is stored
   * @param limit what its owner is kept to: for one who did not have it before
   * @returns false, with nothing stored and the lock ended, if the session is gone or the lock was lost; `'refused'`, with
   * nothing stored and the lock held on, if the owner has too many
   */
  async save(write: SessionWrite, release = false, limit?: OwnerLimit): Promise<boolean | 'refused'> {
    const { manager, queue, lease } = this;
    const handOver = release && manager.mayHandOver(queue);
    const storing = { key: queue.key, write, lease, save: { unlock: release && !handOver } };
    let saved: boolean | 'refused' = false;
    try {
      saved = await storeWithin(limit, manager.backend, storing);
    } catch (error) {
      manager.fail(queue.key, lease, error); // stored or not: the lock must not stay
      throw error;
    } finally {
      if (saved === true) {
        this.renewedAt = performance.now();
        this.record = toRecord({ ...write, createdAt: this.record.createdAt });
      }
      if (saved !== 'refused' && (release || !saved)) {
        void this.end(saved && handOver);
      }
    }
    return saved;
  }

  /** Ends the lock. @param ttl milliseconds from now for a new `expiresAt` */
  async release(ttl?: number): Promise<void> {
    const { manager, queue, lease } = this;
    let handOver = false;
    try {
      // Only a session that is still there is handed on: nothing was stored that would have shown it.
      handOver = manager.mayHandOver(queue) && (await manager.backend.renew(queue.key, lease));
      if (!handOver) {
        await manager.backend.unlock(queue.key, lease, ttl);
      }
    } catch (error) {
      manager.fail(queue.key, lease, error);
      throw error;
    } finally {
      await this.end(handOver);
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
    void this.end();
  }

  /** Ends the lock after a failure of the storage, which is asked to give it back until it answers. */
  fail(error: unknown): void {
    this.manager.fail(this.queue.key, this.lease, error);
    this.forget();
  }

  async renew(): Promise<void> {
    if (performance.now() - this.renewedAt < this.lease.ms / 4) {
      return;
    }
    // A lost lease shows when the save is refused; trouble with the storage is tried again until it lapses.
    if (await this.manager.backend.renew(this.queue.key, this.lease).catch(() => false)) {
      this.renewedAt = performance.now();
    }
  }

  private end(handOver = false): Promise<void> | undefined {
    return this.manager.drop(this) ? this.manager.next(this.queue, handOver ? this : undefined) : undefined;
  }
}

/** What is stored by a write of this moment. */
export function toRecord({ data, owner, timeout, persistent, createdAt, ttl }: SessionWrite): SessionRecord {
  return { data, owner, timeout, persistent, createdAt: createdAt ?? Date.now(), ...usedNow(ttl) };
}
