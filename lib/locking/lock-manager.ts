import { randomBytes } from 'node:crypto';
import { SessionStorageException, SessionTooManyWaitersException } from '../exceptions/session.exception.js';
import type { Lease, SessionBackend, SessionRecord } from '../storage/session-backend.js';
import { UnsentRequestException } from '../storage/unsent-request.exception.js';
import { HeldLock } from './held-lock.js';
import { KeyQueue, type LockOutcome } from './key-queue.js';
import { LockPolling } from './lock-polling.js';
import { UnlockRetries } from './unlock-retries.js';
import { pause, type LockWait } from './waiter.js';

/**
 * How long a process may pass a lock on among its own requests, in milliseconds, before it must free it and
 * pause: the turn of the other processes.
 */
const OWN_TURN = 200;
const PAUSE = 15;

/** Tokens are unique, and need be no secret: random once a process, which is 4 % of a request's time cheaper. */
const PROCESS = randomBytes(16).toString('base64url');
let lastLease = 0;

/**
 * The locks of this process: one first-in-first-out queue a key, in front of a backend. One request at a time asks
 * the backend for the lock. A request that is done hands the lock, and the record as it stored it, to the next one.
 * Every grant rests on an answer of the storage that came after the holder before was done.
 */
export class LockManager {
  private readonly queues = new Map<string, KeyQueue>();
  private readonly held = new Set<HeldLock>();
  private readonly retries: UnlockRetries;
  private readonly polling: LockPolling;
  private renewal: NodeJS.Timeout | undefined;

  /**
   * @param backend whose failures are `SessionStorageException`s
   * @param leaseMs milliseconds until the lock of a dead process lapses
   * @param maxWaiters how many may wait in line for one session
   */
  constructor(
    readonly backend: SessionBackend,
    private readonly leaseMs: number,
    private readonly maxWaiters = Infinity,
  ) {
    this.retries = new UnlockRetries(backend);
    this.polling = new LockPolling(backend);
  }

  /** How many sessions are locked, or being waited for, by this process. */
  get size(): number {
    return this.queues.size;
  }

  /** A lease that no one holds yet, for a record that is to be created locked. */
  newLease(): Lease {
    return { token: `${PROCESS}${(++lastLease).toString(36)}`, ms: this.leaseMs };
  }

  /** Makes a lock out of a lease that a record was created with. */
  adopt(key: string, lease: Lease, record: SessionRecord): HeldLock {
    return this.hold(this.queues.get(key) ?? this.open(key), lease, record);
  }

  /**
   * Waits for its turn, then for other processes.
   * @returns the lock with the record as it is now, or why there is none
   * @throws SessionLockTimeoutException, SessionTooManyWaitersException, SessionStorageException, and why the client gave up
   */
  acquire(key: string, wait: LockWait): Promise<LockOutcome> {
    if (wait.client?.givenUp) {
      return Promise.reject(wait.client.givenUp);
    }
    const queue = this.queues.get(key);
    if (queue && queue.length >= this.maxWaiters) {
      return Promise.reject(new SessionTooManyWaitersException());
    }
    const deadline = performance.now() + wait.waitMs;
    return queue ? this.wait(queue, wait, deadline) : this.ask(this.open(key), wait, deadline, 0);
  }

  /** Called when a lock is done with: the next waiter gets its turn, or `lock` itself if it is handed on. */
  next(queue: KeyQueue, lock?: HeldLock): Promise<void> | undefined {
    queue.holder = undefined;
    const waiter = queue.first;
    if (waiter) {
      waiter.resolve(lock && this.hold(queue, lock.lease, lock.record));
    } else if (lock) {
      return this.takeBack(queue, lock.lease);
    } else {
      this.queues.delete(queue.key);
    }
    return undefined;
  }

  /** Whether to pass the lock on inside this process, or to let others have it. */
  mayHandOver(queue: KeyQueue): boolean {
    return queue.first !== undefined && this.mayKeepTurn(queue);
  }

  /**
   * The storage failed, so that a lease may have the lock, or have it still: it is given back in any case. Who waits
   * in line is told at once, and need not find out one after the other.
   * @param lease undefined: none can have been taken
   */
  fail(key: string, lease: Lease | undefined, error: unknown): void {
    if (lease) {
      this.retries.add(key, lease);
    }
    if (error instanceof SessionStorageException) {
      this.queues.get(key)?.rejectAll(error);
    }
  }

  /** @returns whether it was held */
  drop(lock: HeldLock): boolean {
    return this.held.delete(lock);
  }

  /** Called once, last. */
  close(): void {
    this.retries.close();
    clearInterval(this.renewal);
  }

  private async wait(queue: KeyQueue, wait: LockWait, deadline: number): Promise<LockOutcome> {
    const seenBefore = queue.holder ? -1 : queue.sightings; // with a holder, the session is in sight
    return (await queue.join(wait)) ?? this.ask(queue, wait, deadline, seenBefore);
  }

  /**
   * Gets the lock from the backend for the one whose turn it is. The first try is made in any case.
   * @param seenBefore `queue.sightings` when it came
   */
  private async ask(
    queue: KeyQueue,
    { client }: LockWait,
    deadline: number,
    seenBefore: number,
  ): Promise<LockOutcome> {
    const lease = this.newLease();
    try {
      if (queue.turnSince > 0 && !this.mayKeepTurn(queue)) {
        await pause(PAUSE * (0.5 + Math.random()), client);
      }
      let found = await this.backend.lock(queue.key, lease);
      if (found === 'busy' && !client?.givenUp) {
        queue.sightings++;
        const wait = { waitMs: deadline - performance.now(), client };
        found = await this.polling.lock(queue.key, lease, wait, () => queue.sightings++);
      }
      if (client?.givenUp) {
        await this.backend.unlock(queue.key, lease);
        throw client.givenUp;
      }
      if (found !== undefined && found !== 'busy') {
        queue.turnSince = performance.now();
        return this.hold(queue, lease, found); // whose end calls next()
      }
    } catch (error) {
      if (error instanceof SessionStorageException) {
        const isUnsent = error.operation === 'lock' && error.cause instanceof UnsentRequestException;
        this.fail(queue.key, isUnsent ? undefined : lease, error);
      }
      void this.next(queue);
      throw error;
    }
    void this.next(queue);
    return queue.sightings === seenBefore ? 'absent' : 'ended';
  }

  private open(key: string): KeyQueue {
    const queue = new KeyQueue(key);
    this.queues.set(key, queue);
    return queue;
  }

  private hold(queue: KeyQueue, lease: Lease, record: SessionRecord): HeldLock {
    const lock = new HeldLock(this, queue, lease, record);
    queue.holder = lock;
    queue.sightings++;
    this.held.add(lock);
    this.renewal ??= setInterval(() => this.renewAll(), this.leaseMs / 3).unref();
    return lock;
  }

  /** The last waiter left while the lock was on its way to it. */
  private async takeBack(queue: KeyQueue, lease: Lease): Promise<void> {
    await this.backend.unlock(queue.key, lease).catch(error => this.fail(queue.key, lease, error));
    await this.next(queue);
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

  private mayKeepTurn(queue: KeyQueue): boolean {
    return this.backend.inProcess === true || performance.now() - queue.turnSince < OWN_TURN;
  }
}
