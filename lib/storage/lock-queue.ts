import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  SessionLockTimeoutException,
  SessionRequestClosedException,
  SessionStorageException,
} from '../exceptions/session.exception.js';
import { LockLine, type LockWait } from './lock-line.js';
import { OwedUnlocks } from './owed-unlocks.js';
import { UnsentRequestException } from './unsent-request.exception.js';
import type { Lease, SessionBackend, SessionRecord, SessionWrite } from './session-backend.js';

/** Milliseconds between two tries at a lock that another process holds: from, growing to. */
const RETRY_FROM = 2;
const RETRY_TO = 25;
/**
 * How long a process may pass a lock on among its own requests, in milliseconds, before it must free it and
 * pause: the turn of the other processes.
 */
const OWN_TURN = 200;
const PAUSE = 15;

/** Tokens are unique, and need be no secret: random once a process, which is 4 % of a request's time cheaper. */
const PROCESS = randomBytes(16).toString('base64url');
let lastLease = 0;

type Line = LockLine<HeldLock>;

/**
 * One first-in-first-out queue a key, in front of a backend: of this process's requests, one at a time asks
 * the backend for the lock. A request that is done hands the lock, and the record as it left it, to the next
 * one without giving it back first.
 */
export class LockQueue {
  private readonly lines = new Map<string, Line>();
  private readonly held = new Set<HeldLock>();
  private readonly owed: OwedUnlocks;
  private renewal: NodeJS.Timeout | undefined;

  /**
   * @param backend whose failures are `SessionStorageException`s
   * @param leaseMs milliseconds until the lock of a dead process lapses
   */
  constructor(
    private readonly backend: SessionBackend,
    private readonly leaseMs: number,
  ) {
    this.owed = new OwedUnlocks(backend);
  }

  /** A lease that no one holds yet, for a record that is to be created locked. */
  newLease(): Lease {
    return { token: `${PROCESS}${(++lastLease).toString(36)}`, ms: this.leaseMs };
  }

  /** Makes a lock out of a lease that a record was created with. */
  adopt(key: string, lease: Lease, record: SessionRecord): HeldLock {
    const line = this.lines.get(key) ?? this.newLine(key);
    return this.hold(line, lease, record);
  }

  /**
   * Waits for its turn, then for other processes.
   * @returns the lock with the record as it is now, or undefined if there is no such session
   * @throws SessionLockTimeoutException, SessionRequestClosedException, SessionStorageException
   */
  acquire(key: string, wait: LockWait): Promise<HeldLock | undefined> {
    if (wait.client?.isGone) {
      return Promise.reject(new SessionRequestClosedException());
    }
    const line = this.lines.get(key);
    return line ? line.join(wait) : this.serve(this.newLine(key), wait, Date.now() + wait.waitMs);
  }

  /** How many sessions are locked, or being waited for, by this process. */
  get size(): number {
    return this.lines.size;
  }

  /** Called when a lock is done with: the line's next waiter gets its turn. */
  next(line: Line, handOver?: { lease: Lease; record: SessionRecord }): Promise<void> | undefined {
    const waiter = line.nextWaiter();
    if (waiter && handOver) {
      waiter.resolve(this.hold(line, handOver.lease, handOver.record));
    } else if (waiter) {
      this.serve(line, waiter.wait, waiter.deadline).then(waiter.resolve, waiter.reject);
    } else if (handOver) {
      return this.takeBack(line, handOver.lease);
    } else {
      this.lines.delete(line.key);
    }
    return undefined;
  }

  /** Whether to pass the lock on inside this process, or to let others have it. */
  mayHandOver(line: Line): boolean {
    return !line.isEmpty && this.mayKeepTurn(line);
  }

  /**
   * The storage failed, so that a lease may have the lock, or have it still: it is given back in any case. Who waits
   * in line is told at once, and need not find out one after the other.
   */
  fail(line: Line, lease: Lease, error: unknown): void {
    this.owed.add(line.key, lease);
    if (error instanceof SessionStorageException) {
      line.rejectAll(error);
    }
  }

  /** Called once, last. */
  close(): void {
    this.owed.close();
    clearInterval(this.renewal);
  }

  drop(lock: HeldLock): void {
    this.held.delete(lock);
  }

  /** The last waiter left while the lock was on its way to it. */
  private async takeBack(line: Line, lease: Lease): Promise<void> {
    await this.backend.unlock(line.key, lease).catch(error => this.fail(line, lease, error));
    await this.next(line);
  }

  private newLine(key: string): Line {
    const line: Line = new LockLine(key);
    this.lines.set(key, line);
    return line;
  }

  private hold(line: Line, lease: Lease, record: SessionRecord): HeldLock {
    const lock = new HeldLock(this, this.backend, line, lease, record);
    this.held.add(lock);
    this.renewal ??= setInterval(() => this.renewAll(), this.leaseMs / 3).unref();
    return lock;
  }

  private renewAll(): void {
    if (this.held.size === 0) {
      // Not with the last lock: most are held for a moment, and a timer each would cost as much as the lock.
      clearInterval(this.renewal);
      this.renewal = undefined;
    }
    for (const lock of this.held) {
      void lock.renew();
    }
  }

  /** Gets the lock from the backend for the one whose turn it is. The first try is made in any case. */
  private async serve(line: Line, { client }: LockWait, deadline: number): Promise<HeldLock | undefined> {
    const lease = this.newLease();
    let retryIn = RETRY_FROM;
    try {
      if (line.turnSince > 0 && !this.mayKeepTurn(line)) {
        await sleep(PAUSE * (0.5 + Math.random()));
      }
      for (;;) {
        const record = await this.backend.lock(line.key, lease);
        if (record !== undefined && record !== 'busy' && !client?.isGone) {
          line.turnSince = Date.now();
          return this.hold(line, lease, record); // whose end calls next()
        }
        if (client?.isGone) {
          await this.backend.unlock(line.key, lease);
          throw new SessionRequestClosedException();
        }
        if (record === undefined) {
          break;
        }
        const left = deadline - Date.now();
        if (left <= 0) {
          throw new SessionLockTimeoutException();
        }
        await sleep(Math.min(left, retryIn * (0.5 + Math.random())));
        retryIn = Math.min(retryIn * 1.5, RETRY_TO);
      }
    } catch (error) {
      if (error instanceof SessionStorageException) {
        if (error.operation === 'lock' && error.cause instanceof UnsentRequestException) {
          line.rejectAll(error);
        } else {
          this.fail(line, lease, error);
        }
      }
      await this.next(line);
      throw error;
    }
    await this.next(line);
    return undefined;
  }

  private mayKeepTurn(line: Line): boolean {
    return this.backend.inProcess === true || Date.now() - line.turnSince < OWN_TURN;
  }
}

/** A lock in hand: the record as it was when it was taken, and the two ways to end it. */
export class HeldLock {
  private isHeld = true;
  private renewedAt = Date.now();

  constructor(
    private readonly queue: LockQueue,
    private readonly backend: SessionBackend,
    private readonly line: Line,
    private readonly lease: Lease,
    public record: SessionRecord,
  ) {}

  /**
   * Stores while keeping the lock.
   * @returns false if the session is gone or the lock was lost
   */
  async save(write: SessionWrite): Promise<boolean> {
    const saved = await this.backend.save(this.line.key, write, this.lease, { unlock: false });
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
    const handOver = this.queue.mayHandOver(this.line);
    let saved = false;
    try {
      saved = await this.backend.save(this.line.key, write, this.lease, { unlock: !handOver });
    } catch (error) {
      this.queue.fail(this.line, this.lease, error); // it may be stored or not; either way the lock must not stay
      throw error;
    } finally {
      if (saved) {
        this.written(write);
      }
      void this.pass(saved && handOver);
    }
    return saved;
  }

  /** Ends the lock. @param ttl milliseconds from now for a new `expiresAt` */
  async release(ttl?: number): Promise<void> {
    if (!this.isHeld) {
      return;
    }
    this.end();
    let handOver = false;
    try {
      // Not blindly: a session that was destroyed meanwhile must not be handed on.
      handOver = this.queue.mayHandOver(this.line) && (await this.backend.renew(this.line.key, this.lease));
      if (!handOver) {
        await this.backend.unlock(this.line.key, this.lease, ttl);
      }
    } catch (error) {
      this.queue.fail(this.line, this.lease, error);
      throw error;
    } finally {
      await this.pass(handOver);
    }
  }

  /**
   * Removes the record, and ends the lock with it.
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

  private end(): void {
    this.isHeld = false;
    this.queue.drop(this);
  }

  private written(write: SessionWrite): void {
    const { data, owner, timeout } = write;
    this.renewedAt = Date.now();
    this.record = {
      data,
      owner,
      timeout,
      createdAt: this.record.createdAt,
      expiresAt: Date.now() + write.ttl,
    };
  }

  private pass(handOver: boolean): Promise<void> | undefined {
    return this.queue.next(this.line, handOver ? { lease: this.lease, record: this.record } : undefined);
  }
}
