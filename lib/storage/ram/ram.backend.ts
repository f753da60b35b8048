import { setImmediate } from 'node:timers/promises';
import { store, surplus } from '../owner-limit.js';
import type {
  Admission,
  Lease,
  OwnerLimit,
  OwnerSelection,
  StoredRecord,
  SessionBackend,
  SessionRecord,
  SessionWrite,
} from '../session-backend.js';
import { usedNow } from '../used-now.js';
import { EvictionOrder } from './eviction-order.js';
import { OwnerKeys } from './owner-keys.js';
import { isLeased, toRecord, type RamEntry } from './ram-entry.js';

/** Who looks at all sessions gives way to other work after this many milliseconds. */
const SLICE = 5;
/** Entries looked at between two looks at the clock. */
const BATCH = 500;

/**
 * Sessions in this process's memory, gone with it. Records are serialized strings, so that requests share
 * no objects, just as with the other storages. CherryPy's `RamSession`.
 */
export class RamBackend implements SessionBackend {
  readonly inProcess = true;

  private readonly entries = new Map<string, RamEntry>();
  private readonly owners = new OwnerKeys();

  private readonly order = new EvictionOrder();

  /** @param maxSessions how many to keep; beyond it, the least recently used one goes: of those with an owner, last */
  constructor(private readonly maxSessions: number) {}

  async read(key: string): Promise<SessionRecord | undefined> {
    const entry = this.find(key);
    if (!entry) {
      return undefined;
    }
    this.order.use(entry);
    return toRecord(entry);
  }

  async lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
    const entry = this.find(key);
    if (!entry) {
      return undefined;
    }
    if (isLeased(entry) && entry.leaseToken !== lease.token) {
      return 'busy';
    }
    this.takeLease(entry, lease);
    return toRecord(entry);
  }

  async renew(key: string, lease: Lease): Promise<boolean> {
    const entry = this.findLeased(key, lease);
    if (entry) {
      this.takeLease(entry, lease);
    }
    return entry !== undefined;
  }

  async unlock(key: string, lease: Lease, ttl?: number): Promise<void> {
    const entry = this.findLeased(key, lease);
    if (!entry) {
      return;
    }
    entry.leaseToken = undefined;
    if (ttl !== undefined) {
      Object.assign(entry, usedNow(ttl));
    }
    this.order.use(entry);
  }

  async touch(key: string, ttl: number): Promise<boolean> {
    const entry = this.find(key);
    if (entry) {
      Object.assign(entry, usedNow(ttl));
      this.order.use(entry);
    }
    return entry !== undefined;
  }

  async create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
    const now = Date.now();
    const old = this.entries.get(key);
    if (old) {
      if (old.expiresAt > now) {
        return false;
      }
      this.drop(old);
    }
    const { data, owner, timeout, persistent, createdAt = now, ttl } = write;
    const entry: RamEntry = {
      key,
      data,
      owner,
      timeout,
      persistent,
      createdAt,
      expiresAt: now + ttl,
      lastUsedAt: now,
      leaseToken: lease?.token,
      leasedUntil: lease ? now + lease.ms : 0,
      order: undefined,
      before: undefined,
      after: undefined,
    };
    if (this.entries.size >= this.maxSessions && write.replaces === undefined) {
      const leaving = this.order.first();
      if (leaving) {
        this.drop(leaving);
      }
    }
    this.entries.set(key, entry);
    this.order.use(entry);
    this.owners.move(key, undefined, owner);
    return true;
  }

  async save(
    key: string,
    write: SessionWrite,
    lease: Lease,
    { unlock }: { unlock: boolean },
  ): Promise<boolean> {
    const entry = this.findLeased(key, lease);
    if (!entry) {
      return false;
    }
    if (entry.owner !== write.owner) {
      this.owners.move(key, entry.owner, write.owner);
    }
    entry.data = write.data;
    entry.owner = write.owner;
    entry.timeout = write.timeout;
    entry.persistent = write.persistent;
    Object.assign(entry, usedNow(write.ttl));
    if (unlock) {
      entry.leaseToken = undefined;
      this.order.use(entry);
    } else {
      this.takeLease(entry, lease);
    }
    return true;
  }

  async delete(key: string, lease?: Lease): Promise<boolean> {
    const isFound = (lease ? this.findLeased(key, lease) : this.find(key)) !== undefined;
    const entry = isFound || !lease ? this.entries.get(key) : undefined;
    if (entry) {
      this.drop(entry); // one that has expired too, though nobody can find it
    }
    return isFound;
  }

  async cleanUp(): Promise<number> {
    let removed = 0;
    await this.walk(entry => {
      if (entry.expiresAt <= Date.now()) {
        this.drop(entry);
        removed++;
      }
    });
    return removed;
  }

  async close(): Promise<void> {
    this.entries.clear();
    this.owners.clear();
    this.order.clear();
  }

  async count(): Promise<number> {
    let count = 0;
    await this.walk(({ expiresAt }) => {
      count += expiresAt > Date.now() ? 1 : 0;
    });
    return count;
  }

  async list(after = '', limit: number): Promise<StoredRecord[]> {
    let page: RamEntry[] = [];
    const cut = () => (page = page.sort((a, b) => (a.key < b.key ? -1 : 1)).slice(0, limit));
    await this.walk(entry => {
      if (entry.key > after && entry.expiresAt > Date.now() && page.push(entry) === 2 * limit) {
        cut();
      }
    });
    return cut().map(entry => ({ key: entry.key, record: toRecord(entry) }));
  }

  async findByOwner(owner: string): Promise<StoredRecord[]> {
    return this.ownedBy(owner).map(entry => ({ key: entry.key, record: toRecord(entry) }));
  }

  async admit(admission: Admission, limit: OwnerLimit): Promise<boolean | 'refused'> {
    const { key, write, lease, save } = admission;
    const leaving = surplus(this.ownedBy(write.owner), key, limit.max);
    if (leaving.length > 0 && limit.refuses) {
      return 'refused';
    }
    if (save ? !this.findLeased(key, lease) : this.find(key)) {
      return false;
    }
    leaving.forEach(entry => this.drop(entry));
    return store(this, admission);
  }

  async deleteByOwner(owner: string, options: OwnerSelection = {}): Promise<number> {
    let removed = 0;
    for (const key of this.owners.keysOf(owner)) {
      if (
        key !== options.except &&
        (options.only === undefined || key === options.only) &&
        (await this.delete(key))
      ) {
        removed++;
      }
    }
    return removed;
  }

  /** Looks at all entries, in slices: requests are served in between. */
  private async walk(look: (entry: RamEntry) => void): Promise<void> {
    let seen = 0;
    let sliceEnd = performance.now() + SLICE;
    // A Map may change while it is walked. What is created meanwhile comes at the end: `latest` keeps the walk from
    // following it for ever.
    const latest = this.entries.size;
    for (const entry of this.entries.values()) {
      if (seen >= latest) {
        break;
      }
      look(entry);
      if (++seen % BATCH === 0 && performance.now() >= sliceEnd) {
        await setImmediate();
        sliceEnd = performance.now() + SLICE;
      }
    }
  }

  /** Oldest first. */
  private ownedBy(owner: string): RamEntry[] {
    const entries = [...this.owners.keysOf(owner)].map(key => this.find(key));
    return entries.filter(entry => entry !== undefined).sort((a, b) => a.createdAt - b.createdAt);
  }

  private find(key: string): RamEntry | undefined {
    const entry = this.entries.get(key);
    return entry && entry.expiresAt > Date.now() ? entry : undefined;
  }

  private findLeased(key: string, lease: Lease): RamEntry | undefined {
    const entry = this.find(key);
    return entry?.leaseToken === lease.token ? entry : undefined;
  }

  private takeLease(entry: RamEntry, lease: Lease): void {
    entry.leaseToken = lease.token;
    entry.leasedUntil = Date.now() + lease.ms;
    this.order.use(entry);
  }

  private drop(entry: RamEntry): void {
    this.entries.delete(entry.key);
    this.order.remove(entry);
    this.owners.move(entry.key, entry.owner, undefined);
  }
}
