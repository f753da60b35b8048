import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  SessionLockTimeoutException,
  SessionRequestClosedException,
  SessionStorageException,
} from '../exceptions/session.exception.js';
import { HeldLock, type HandOver } from './held-lock.js';
import { LockLine, type LockWait } from './lock-line.js';
import { OwedUnlocks } from './owed-unlocks.js';
import { UnsentRequestException } from './unsent-request.exception.js';
import type { Lease, SessionBackend, SessionRecord } from './session-backend.js';

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

export type Line = LockLine<HeldLock>;

/**
 * One first-in-first-out queue a key, in front of a backend: of this process's requests, one at a time asks
 * the backend for the lock. A request that is done hands the lock, and the record as it left it, to the next
 * one: without giving it back first, and without waiting until the record is stored.
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
    return this.hold(line, { lease, record });
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
  next(line: Line, handOver?: HandOver): Promise<void> | undefined {
    const waiter = line.nextWaiter();
    if (waiter && handOver) {
      waiter.resolve(this.hold(line, handOver));
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

  private hold(line: Line, handOver: HandOver): HeldLock {
    const lock = new HeldLock(this, this.backend, line, handOver);
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
          return this.hold(line, { lease, record }); // whose end calls next()
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
