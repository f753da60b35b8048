import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  SessionLockTimeoutException,
  SessionRequestClosedException,
} from '../exceptions/session.exception.js';
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

export interface LockWait {
  /** Milliseconds to wait at most. */
  waitMs: number;
  /** Ends the wait when its client has gone away. */
  signal?: AbortSignal | undefined;
}

/**
 * One first-in-first-out queue a key, in front of a backend: of this process's requests, one at a time asks
 * the backend for the lock. A request that is done hands the lock, and the record as it left it, to the next
 * one without giving it back first.
 */
export class LockQueue {
  private readonly lines = new Map<string, Line>();
  private readonly held = new Set<HeldLock>();
  private renewal: NodeJS.Timeout | undefined;

  /**
   * @param backend whose failures are `SessionStorageException`s
   * @param leaseMs milliseconds until the lock of a dead process lapses
   */
  constructor(
    private readonly backend: SessionBackend,
    private readonly leaseMs: number,
  ) {}

  /** A lease that no one holds yet, for a record that is to be created locked. */
  newLease(): Lease {
    return { token: randomBytes(16).toString('base64url'), ms: this.leaseMs };
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
  async acquire(key: string, wait: LockWait): Promise<HeldLock | undefined> {
    if (wait.signal?.aborted) {
      throw new SessionRequestClosedException();
    }
    const line = this.lines.get(key);
    const waiter = new Waiter(wait);
    if (line) {
      line.join(waiter);
    } else {
      void this.serve(this.newLine(key), waiter);
    }
    return waiter.result;
  }

  /** How many sessions are locked, or being waited for, by this process. */
  get size(): number {
    return this.lines.size;
  }

  /** Called when a lock is done with: the line's next waiter gets its turn. */
  async next(line: Line, handOver?: { lease: Lease; record: SessionRecord }): Promise<void> {
    const waiter = line.nextWaiter();
    if (waiter && handOver) {
      waiter.resolve(this.hold(line, handOver.lease, handOver.record));
    } else if (waiter) {
      await this.serve(line, waiter);
    } else {
      if (handOver) {
        // The last waiter left while the lock was on its way to it.
        await this.backend.unlock(line.key, handOver.lease);
      }
      if (line.isEmpty) {
        this.lines.delete(line.key);
      } else {
        await this.next(line);
      }
    }
  }

  /** Whether to pass the lock on inside this process, or to let others have it. */
  mayHandOver(line: Line): boolean {
    return !line.isEmpty && (this.backend.inProcess === true || Date.now() - line.turnSince < OWN_TURN);
  }

  drop(lock: HeldLock): void {
    this.held.delete(lock);
    if (this.held.size === 0) {
      clearInterval(this.renewal);
      this.renewal = undefined;
    }
  }

  private newLine(key: string): Line {
    const line = new Line(key);
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
    for (const lock of this.held) {
      void lock.renew();
    }
  }

  private async serve(line: Line, waiter: Waiter): Promise<void> {
    const lease = this.newLease();
    const lastTurn = line.turnSince;
    let retryIn = RETRY_FROM;
    try {
      if (lastTurn > 0 && !this.backend.inProcess && Date.now() - lastTurn >= OWN_TURN) {
        await sleep(PAUSE * (0.5 + Math.random()));
      }
      for (;;) {
        const record = waiter.isWaiting ? await this.backend.lock(line.key, lease) : undefined;
        if (!waiter.isWaiting) {
          if (record && record !== 'busy') {
            await this.backend.unlock(line.key, lease);
          }
          break;
        }
        if (record === undefined) {
          waiter.resolve(undefined);
          break;
        }
        if (record !== 'busy') {
          line.turnSince = Date.now();
          waiter.resolve(this.hold(line, lease, record));
          return; // the lock's end calls next()
        }
        await Promise.race([sleep(retryIn * (0.5 + Math.random())), waiter.settled]);
        retryIn = Math.min(retryIn * 1.5, RETRY_TO);
      }
    } catch (error) {
      // The storage is in trouble: the others need not find out one after the other.
      waiter.reject(error);
      line.rejectAll(error);
    }
    await this.next(line).catch(() => undefined); // logged by the guarded backend
  }
}

/** The requests of this process that want one key: one is being served, the others wait. */
class Line {
  private readonly waiters: Waiter[] = [];
  /** When this process got the lock from the backend, milliseconds since 1970; 0: never. */
  turnSince = 0;

  constructor(readonly key: string) {}

  get isEmpty(): boolean {
    return this.waiters.length === 0;
  }

  join(waiter: Waiter): void {
    this.waiters.push(waiter);
    waiter.onLeave = () => {
      const index = this.waiters.indexOf(waiter);
      if (index >= 0) {
        this.waiters.splice(index, 1);
      }
    };
  }

  nextWaiter(): Waiter | undefined {
    return this.waiters.shift();
  }

  rejectAll(error: unknown): void {
    for (const waiter of this.waiters.splice(0)) {
      waiter.reject(error);
    }
  }
}

/** One request that waits. It leaves when its time is up or its client has gone. */
class Waiter {
  readonly result: Promise<HeldLock | undefined>;
  /** Resolves, never rejects, when the wait is over. */
  readonly settled: Promise<void>;
  isWaiting = true;
  onLeave: (() => void) | undefined;
  private readonly timer: NodeJS.Timeout;
  private resolveResult!: (lock: HeldLock | undefined) => void;
  private rejectResult!: (error: unknown) => void;

  constructor(private readonly wait: LockWait) {
    this.result = new Promise((resolve, reject) => {
      this.resolveResult = resolve;
      this.rejectResult = reject;
    });
    this.settled = this.result.then(noop, noop);
    this.timer = setTimeout(() => this.reject(new SessionLockTimeoutException()), wait.waitMs);
    wait.signal?.addEventListener('abort', this.abort);
  }

  resolve(lock: HeldLock | undefined): void {
    this.end();
    this.resolveResult(lock);
  }

  reject(error: unknown): void {
    if (this.isWaiting) {
      this.end();
      this.onLeave?.();
      this.rejectResult(error);
    }
  }

  private readonly abort = () => this.reject(new SessionRequestClosedException());

  private end(): void {
    this.isWaiting = false;
    clearTimeout(this.timer);
    this.wait.signal?.removeEventListener('abort', this.abort);
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
      // It may be stored or not; either way the lock must not stay.
      void this.backend.unlock(this.line.key, this.lease).catch(noop);
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
    if (this.queue.mayHandOver(this.line)) {
      // Not blindly: a session that was destroyed meanwhile must not be handed on.
      const alive = await this.backend.renew(this.line.key, this.lease).catch(() => false);
      await this.pass(alive);
      return;
    }
    try {
      await this.backend.unlock(this.line.key, this.lease, ttl);
    } finally {
      await this.pass(false);
    }
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

  private async pass(handOver: boolean): Promise<void> {
    await this.queue
      .next(this.line, handOver ? { lease: this.lease, record: this.record } : undefined)
      .catch(noop);
  }
}

function noop(): void {
  // Failures are logged where they happen, by the guarded backend.
}
