import type { Line, LockQueue } from './lock-queue.js';
import { SaveChain } from './save-chain.js';
import type { Lease, SessionBackend, SessionRecord, SessionWrite } from './session-backend.js';

/** What the next one in line gets. */
export interface HandOver {
  lease: Lease;
  /** As the one before left it, stored or about to be. */
  record: SessionRecord;
  /** Once a holder has handed over what was not stored yet. */
  saves?: SaveChain | undefined;
}

/** A lock in hand: the record as it was when it was taken, and the two ways to end it. */
export class HeldLock {
  record: SessionRecord;
  private readonly lease: Lease;
  private saves: SaveChain | undefined;
  private isHeld = true;
  private renewedAt = Date.now();

  constructor(
    private readonly queue: LockQueue,
    private readonly backend: SessionBackend,
    private readonly line: Line,
    { lease, record, saves }: HandOver,
  ) {
    this.lease = lease;
    this.record = record;
    this.saves = saves;
  }

  /**
   * What the holders before left may be on its way to the storage still: whether it got there. Until then nothing
   * that rests on it may leave the process. Undefined if there is nothing to wait for.
   */
  get unsettled(): Promise<boolean> | undefined {
    return this.saves?.unsettled;
  }

  /**
   * Stores while keeping the lock.
   * @returns false if the session is gone or the lock was lost
   */
  async save(write: SessionWrite): Promise<boolean> {
    const saved = await (this.saves
      ? this.saves.add(write, false)
      : this.backend.save(this.line.key, write, this.lease, { unlock: false }));
    if (saved) {
      this.written(write);
    }
    return saved;
  }

  /**
   * Stores and ends the lock, in one step.
   * @returns false, with nothing stored, if the session is gone or the lock was lost
   */
  async saveAndRelease(write: SessionWrite): Promise<boolean> {
    this.end();
    if (this.mayHandOver()) {
      this.saves ??= new SaveChain((last, unlock) => this.storeOrFail(last, unlock));
      const saving = this.saves.add(write, false);
      this.written(write);
      void this.pass(true);
      return saving;
    }
    try {
      const saved = await (this.saves ? this.saves.add(write, true) : this.storeOrFail(write, true));
      if (saved) {
        this.written(write);
      }
      return saved;
    } finally {
      void this.pass(false);
    }
  }

  /** Ends the lock. @param ttl milliseconds from now for a new `expiresAt` */
  async release(ttl?: number): Promise<void> {
    if (!this.isHeld) {
      return;
    }
    this.end();
    // A session that was destroyed meanwhile shows in the save that is under way; without one, it is asked for.
    let handOver = this.unsettled !== undefined && this.mayHandOver();
    try {
      if (!handOver && (this.unsettled === undefined || (await this.unsettled))) {
        handOver = this.mayHandOver() && (await this.backend.renew(this.line.key, this.lease));
        if (!handOver) {
          await this.backend.unlock(this.line.key, this.lease, ttl);
        }
      }
    } catch (error) {
      this.queue.fail(this.line, this.lease, error);
      throw error;
    } finally {
      await this.pass(handOver);
    }
  }

  /**
   * Removes the record, which is settled, and ends the lock with it.
   * @returns false, with nothing removed, if the session is gone or the lock was lost
   */
  async remove(): Promise<boolean> {
    const removed = await this.backend.delete(this.line.key, this.lease);
    if (removed) {
      this.forget();
    }
    return removed;
  }

  /** Ends the lock of a record that was just removed, with nothing left to unlock. */
  forget(): void {
    if (this.isHeld) {
      this.end();
      void this.pass(false);
    }
  }

  async renew(): Promise<void> {
    if (!this.isHeld || Date.now() - this.renewedAt < this.lease.ms / 4) {
      return;
    }
    // A lost lease shows when the save is refused; trouble with the storage is tried again until it lapses.
    const renewed = await this.backend.renew(this.line.key, this.lease).catch(() => false);
    if (renewed) {
      this.renewedAt = Date.now();
    }
  }

  private mayHandOver(): boolean {
    return !this.saves?.isBroken && this.queue.mayHandOver(this.line);
  }

  private storeOrFail(write: SessionWrite, unlock: boolean): Promise<boolean> {
    return this.backend.save(this.line.key, write, this.lease, { unlock }).catch((error: unknown) => {
      this.queue.fail(this.line, this.lease, error); // it may be stored or not; either way the lock must not stay
      throw error;
    });
  }

  private end(): void {
    this.isHeld = false;
    this.queue.drop(this);
  }

  private written({ data, owner, timeout, ttl }: SessionWrite): void {
    const now = Date.now();
    this.renewedAt = now;
    this.record = { data, owner, timeout, createdAt: this.record.createdAt, expiresAt: now + ttl };
  }

  private pass(handOver: boolean): Promise<void> | undefined {
    const { lease, record, saves } = this;
    return this.queue.next(this.line, handOver ? { lease, record, saves } : undefined);
  }
}
