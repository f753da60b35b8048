import { setTimeout as sleep } from 'node:timers/promises';
import type { Lease, SessionBackend } from '../storage/session-backend.js';

/** Milliseconds between two tries: from, growing to. Each that fails is an error in the log. */
const RETRY_FROM = 200;
const RETRY_TO = 1000;
/** Beyond, locks are left to lapse. Those of the first moments matter most: what was on its way then is done later. */
const MAX_OWED = 2000;

interface Owed {
  key: string;
  lease: Lease;
  wasAnswered: boolean;
}

/**
 * Locks that are to be given back, to a storage that does not answer. It is asked again until it does, so that its
 * return does not find sessions locked, for `leaseTime`, by requests that have long been answered 503.
 */
export class UnlockRetries {
  private readonly owed = new Set<Owed>();
  private isTrying = false;
  private isClosed = false;

  /** @param backend whose unlock does nothing for a lease that does not hold the lock */
  constructor(private readonly backend: Pick<SessionBackend, 'unlock'>) {}

  add(key: string, lease: Lease): void {
    if (this.owed.size < MAX_OWED) {
      this.owed.add({ key, lease, wasAnswered: false });
    }
    if (!this.isTrying) {
      void this.tryUntilDone();
    }
  }

  close(): void {
    this.isClosed = true;
  }

  private async tryUntilDone(): Promise<void> {
    this.isTrying = true;
    for (let retryIn = RETRY_FROM; this.owed.size > 0 && !this.isClosed; retryIn *= 1.5) {
      const [first, ...others] = this.owed;
      // The first one shows whether it is worth while to ask for the others.
      if (await this.try(first!)) {
        await Promise.all(others.map(owed => this.try(owed)));
        retryIn = RETRY_FROM;
      }
      await sleep(Math.min(retryIn, RETRY_TO), undefined, { ref: false });
    }
    this.isTrying = false;
  }

  /**
   * Twice: a server that hung carries out what it was sent before, when it goes on, and maybe after the first
   * unlock: the taking of the lock too.
   * @returns whether the storage answered
   */
  private async try(owed: Owed): Promise<boolean> {
    try {
      await this.backend.unlock(owed.key, owed.lease);
    } catch {
      return false; // logged by the fail-safe backend
    }
    if (owed.wasAnswered) {
      this.owed.delete(owed);
    }
    owed.wasAnswered = true;
    return true;
  }
}
