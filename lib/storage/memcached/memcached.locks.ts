import { setTimeout as sleep } from 'node:timers/promises';
import type { Lease } from '../session-backend.js';
import type { MemcachedConnection, MemcachedItem } from './memcached.connection.js';

/**
 * Milliseconds that a lapsed lock stays: who takes it over has to know that there was a holder, who may come back.
 */
const LAPSED_LOCK_MS = 60 * 60_000;
/** Milliseconds until a server that did not answer is asked again to free a lock. */
const FREE_AGAIN = 500;

/** The locks of sessions: an item each, beside the session's, with the holder's token and when it lapses. */
export class MemcachedLocks {
  /** Those that are being given back behind the answers. */
  private readonly freeing = new Set<Promise<void>>();
  private isClosed = false;

  /** @param prefix of the keys */
  constructor(
    private readonly connection: MemcachedConnection,
    private readonly prefix: string,
  ) {}

  /** @returns the lock's mark; undefined if there is a lock */
  add(key: string, lease: Lease): Promise<Buffer | undefined> {
    return this.connection.add(key, this.keyOf(key), valueOf(lease), ttlOf(lease));
  }

  /** @param cas only if the lock still has this mark @returns the new one */
  set(key: string, lease: Lease, cas?: Buffer): Promise<Buffer | undefined> {
    return this.connection.set(key, this.keyOf(key), valueOf(lease), ttlOf(lease), cas);
  }

  get(key: string): Promise<MemcachedItem | undefined> {
    return this.connection.get(key, this.keyOf(key));
  }

  delete(key: string, cas?: Buffer): Promise<boolean> {
    return this.connection.delete(key, this.keyOf(key), cas);
  }

  /** @returns the mark of the lock, if it is this lease's */
  async find(key: string, lease: Lease): Promise<Buffer | undefined> {
    const lock = await this.get(key);
    return lock && tokenOf(lock) === lease.token ? lock.cas : undefined;
  }

  /** Takes a lock whose time has passed; of several that try, one gets it. @param lock as it was found */
  takeOver(key: string, lease: Lease, lock: MemcachedItem | undefined): Promise<Buffer | undefined> {
    if (!lock) {
      return this.add(key, lease); // freed since
    }
    const isRunning = Number(lock.value.split(' ')[1]) > Date.now(); // not so for an item that is none of ours
    const isFree = tokenOf(lock) === lease.token || !isRunning;
    return isFree ? this.set(key, lease, lock.cas) : Promise.resolve(undefined);
  }

  /** Frees the lock, if it is this lease's. @param noted the mark that it had last */
  async free(key: string, lease: Lease, noted: Buffer | undefined): Promise<void> {
    if (noted && (await this.delete(key, noted))) {
      return;
    }
    // After a renewal that was under way, it has another mark.
    const cas = await this.find(key, lease);
    if (cas) {
      await this.delete(key, cas);
    }
  }

  /** As `free`, behind the answer. A server that does not answer is asked again, until the lock has lapsed anyway. */
  freeLater(key: string, lease: Lease, noted: Buffer | undefined): void {
    const work = this.freeUntilDone(key, lease, noted);
    this.freeing.add(work);
    void work.then(() => this.freeing.delete(work));
  }

  /** Waits for what is being given back. */
  async close(): Promise<void> {
    this.isClosed = true;
    await Promise.all(this.freeing);
  }

  private async freeUntilDone(key: string, lease: Lease, noted: Buffer | undefined): Promise<void> {
    for (const end = Date.now() + lease.ms; Date.now() < end && !this.isClosed;) {
      try {
        await this.free(key, lease, noted);
        return;
      } catch {
        await sleep(FREE_AGAIN, undefined, { ref: false });
      }
    }
  }

  private keyOf(key: string): string {
    return `${this.prefix}${key}:lock`;
  }
}

const ttlOf = (lease: Lease): number => lease.ms + LAPSED_LOCK_MS;
const valueOf = (lease: Lease): string => `${lease.token} ${Date.now() + lease.ms}`;
const tokenOf = (lock: MemcachedItem): string => lock.value.split(' ')[0]!;
