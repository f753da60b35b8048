import type { Lease, SessionBackend, SessionRecord } from '../storage/session-backend.js';
import { startWait, type LockWait, type Waiter } from './waiter.js';

/** How many tries go out together at most, and how many may be without their answers at a time. */
const ROUND = 20;
/** Milliseconds of rest after a round, for each of its tries: 400 tries a second. */
const REST_A_TRY = 2.5;
/** Milliseconds between two tries for one session: from, growing to. */
const RETRY_FROM = 2;
const RETRY_TO = 25;
/** The same where more wait than can be tried: it grows to this, so that long waits leave room for those that begin. */
const CROWDED_TO = 2500;
/** The same where the storage says when a lock is freed: for what it did not say. One second at least, with jitter. */
const NET = 2000;

/** One session whose lock another process holds. */
interface Poll {
  /** When the wait began; by `performance.now()`, as all times here. */
  since: number;
  /** When it is to be tried again; 0: at once; Infinity: it is being tried. */
  dueAt: number;
  /** Who waits for that; undefined while it is being tried. */
  turn: Waiter<void> | undefined;
}

/**
 * The wait of this process for locks that other processes hold: one timer, and so many tries a second, however many
 * sessions wait. Those that are due go out together. Where more are due than may go, those go first whose last try is
 * longest ago, measured by how long they have waited: all are served, and who has just come need not stand behind a
 * thousand who have waited in vain for long.
 */
export class LockPolling {
  private readonly polls = new Map<string, Poll>();
  private underWay = 0;
  private restUntil = 0;
  private timer: NodeJS.Timeout | undefined;
  private wakesAt = Infinity;

  constructor(private readonly backend: SessionBackend) {
    backend.onFreed?.(key => this.freed(key));
  }

  /**
   * Tries until the lock is had; one call a key at a time.
   * @param onBusy called at each try that finds another holder
   * @returns as `SessionBackend.lock`; `'busy'` only to one whose client has given up during a try
   * @throws SessionLockTimeoutException, what the storage fails with, and why the client gave up
   */
  async lock(
    key: string,
    lease: Lease,
    { waitMs, client }: LockWait,
    onBusy: () => void,
  ): Promise<SessionRecord | 'busy' | undefined> {
    const since = performance.now();
    const poll: Poll = { since, dueAt: since + jitter(RETRY_FROM), turn: undefined };
    this.polls.set(key, poll); // from here on, no word of its end is missed: a try comes after it
    try {
      for (;;) {
        await this.turn(poll, { waitMs: since + waitMs - performance.now(), client });
        const found = await this.backend.lock(key, lease).finally(() => this.answered());
        if (found !== 'busy' || client?.givenUp) {
          return found;
        }
        onBusy();
        poll.dueAt = Math.min(poll.dueAt, performance.now() + this.retryIn(poll)); // 0: freed meanwhile
      }
    } finally {
      this.polls.delete(key);
    }
  }

  private turn(poll: Poll, wait: LockWait): Promise<void> {
    poll.turn = startWait(wait, () => (poll.turn = undefined));
    this.wakeBy(poll.dueAt);
    return poll.turn.served;
  }

  private freed(key: string): void {
    const poll = this.polls.get(key);
    if (poll) {
      poll.dueAt = 0;
      this.wakeBy(0);
    }
  }

  private answered(): void {
    if (this.underWay-- === ROUND) {
      this.wakeBy(0);
    }
  }

  private wakeBy(dueAt: number): void {
    const at = Math.max(dueAt, this.restUntil);
    if (at < this.wakesAt) {
      this.wakesAt = at;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.round(), Math.ceil(at - performance.now())).unref();
    }
  }

  private round(): void {
    const now = performance.now();
    const waiting = Array.from(this.polls.values()).filter(({ turn }) => turn);
    const urgency = ({ dueAt, since }: Poll) => (now - dueAt) / spacing(now - since, CROWDED_TO);
    const due = waiting.filter(({ dueAt }) => dueAt <= now).sort((a, b) => urgency(b) - urgency(a));
    const going = due.slice(0, ROUND - this.underWay);
    this.underWay += going.length;
    this.restUntil = now + going.length * REST_A_TRY;
    this.wakesAt = Infinity;
    for (const poll of going) {
      poll.dueAt = Infinity;
      poll.turn!.resolve();
    }
    if (this.underWay < ROUND) {
      this.wakeBy(waiting.reduce((first, { dueAt }) => Math.min(first, dueAt), Infinity));
    }
  }

  private retryIn({ since }: Poll): number {
    return jitter(this.backend.onFreed ? NET : spacing(performance.now() - since, RETRY_TO));
  }
}

/** Milliseconds between two tries: half as long as the wait so far, so that each is half as long again as the one before. */
const spacing = (waited: number, to: number): number => Math.min(RETRY_FROM + waited / 2, to);

/** Processes, and sessions, that began to wait together do not stay together. */
const jitter = (ms: number): number => ms * (0.5 + Math.random());
