import { setImmediate } from 'node:timers/promises';
import type {
  Lease,
  OwnedRecord,
  OwnerSelection,
  SessionBackend,
  SessionRecord,
  SessionWrite,
} from '../session-backend.js';

interface Entry extends SessionRecord {
  leaseToken?: string | undefined;
  /** When the lease lapses, milliseconds since 1970. */
  leasedUntil: number;
}

/** A sweep gives way to other work after this many milliseconds. */
const SWEEP_SLICE = 5;
/** Entries looked at between two looks at the clock. */
const SWEEP_BATCH = 500;

/**
 * Sessions in this process's memory, gone with it. Records are serialized strings, so that requests share
 * no objects, just as with the other storages. CherryPy's `RamSession`.
 */
export class RamBackend implements SessionBackend {
  readonly inProcess = true;

  /** In order of use: the first is the one that was used longest ago. */
  private readonly entries = new Map<string, Entry>();
  private readonly keysByOwner = new Map<string, Set<string>>();

  /** @param maxSessions how many to keep; beyond it, the least recently used one goes */
  constructor(private readonly maxSessions: number) {}

  async read(key: string): Promise<SessionRecord | undefined> {
    const entry = this.find(key);
    return entry && toRecord(entry);
  }

  async lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
    const entry = this.find(key);
    if (!entry) {
      return undefined;
    }
    if (
      entry.leaseToken !== undefined &&
      entry.leaseToken !== lease.token &&
      entry.leasedUntil > Date.now()
    ) {
      return 'busy';
    }
    takeLease(entry, lease);
    return toRecord(entry);
  }

  async renew(key: string, lease: Lease): Promise<boolean> {
    const entry = this.findLeased(key, lease);
    if (entry) {
      takeLease(entry, lease);
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
      this.moveExpiry(key, entry, ttl);
    }
  }

  async touch(key: string, ttl: number): Promise<boolean> {
    const entry = this.find(key);
    if (entry) {
      this.moveExpiry(key, entry, ttl);
    }
    return entry !== undefined;
  }

  async create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
    if (this.find(key)) {
      return false;
    }
    const now = Date.now();
    const { data, owner, timeout, createdAt = now, ttl } = write;
    const entry: Entry = { data, owner, timeout, createdAt, expiresAt: now + ttl, leasedUntil: 0 };
    if (lease) {
      takeLease(entry, lease);
    }
    this.remove(key);
    if (this.entries.size >= this.maxSessions) {
      this.remove(this.entries.keys().next().value!);
    }
    this.entries.set(key, entry);
    this.setOwner(key, undefined, owner);
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
      this.setOwner(key, entry.owner, write.owner);
    }
    entry.data = write.data;
    entry.owner = write.owner;
    entry.timeout = write.timeout;
    if (unlock) {
      entry.leaseToken = undefined;
    } else {
      takeLease(entry, lease);
    }
    this.moveExpiry(key, entry, write.ttl);
    return true;
  }

  async delete(key: string, lease?: Lease): Promise<boolean> {
    const found = (lease ? this.findLeased(key, lease) : this.find(key)) !== undefined;
    if (found || !lease) {
      this.remove(key);
    }
    return found;
  }

  async cleanUp(): Promise<number> {
    let removed = 0;
    let seen = 0;
    let sliceEnd = performance.now() + SWEEP_SLICE;
    // A Map may change while it is walked, so requests can be served between two slices. One that is used
    // meanwhile moves to the end: `latest` keeps the walk from following it for ever.
    const latest = this.entries.size;
    for (const [key, entry] of this.entries) {
      if (seen >= latest) {
        break;
      }
      if (entry.expiresAt <= Date.now()) {
        this.remove(key);
        removed++;
      }
      if (++seen % SWEEP_BATCH === 0 && performance.now() >= sliceEnd) {
        await setImmediate();
        sliceEnd = performance.now() + SWEEP_SLICE;
      }
    }
    return removed;
  }

  async close(): Promise<void> {
    this.entries.clear();
    this.keysByOwner.clear();
  }

  async count(): Promise<number> {
    const now = Date.now();
    let count = 0;
    for (const entry of this.entries.values()) {
      if (entry.expiresAt > now) {
        count++;
      }
    }
    return count;
  }

  async findByOwner(owner: string): Promise<OwnedRecord[]> {
    const found: OwnedRecord[] = [];
    for (const key of this.keysByOwner.get(owner) ?? []) {
      const entry = this.find(key);
      if (entry) {
        found.push({ key, record: toRecord(entry) });
      }
    }
    return found.sort((a, b) => a.record.createdAt - b.record.createdAt);
  }

  async deleteByOwner(owner: string, options: OwnerSelection = {}): Promise<number> {
    let removed = 0;
    for (const key of this.keysByOwner.get(owner) ?? []) {
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

  private find(key: string): Entry | undefined {
    const entry = this.entries.get(key);
    return entry && entry.expiresAt > Date.now() ? entry : undefined;
  }

  private findLeased(key: string, lease: Lease): Entry | undefined {
    const entry = this.find(key);
    return entry?.leaseToken === lease.token ? entry : undefined;
  }

  private moveExpiry(key: string, entry: Entry, ttl: number): void {
    entry.expiresAt = Date.now() + ttl;
    // To the end of the order of use.
    this.entries.delete(key);
    this.entries.set(key, entry);
  }

  private remove(key: string): void {
    const entry = this.entries.get(key);
    if (entry) {
      this.entries.delete(key);
      this.setOwner(key, entry.owner, undefined);
    }
  }

  private setOwner(key: string, from: string | undefined, to: string | undefined): void {
    if (from !== undefined) {
      const keys = this.keysByOwner.get(from);
      keys?.delete(key);
      if (keys?.size === 0) {
        this.keysByOwner.delete(from);
      }
    }
    if (to !== undefined) {
      const keys = this.keysByOwner.get(to);
      if (keys) {
        keys.add(key);
      } else {
        this.keysByOwner.set(to, new Set([key]));
      }
    }
  }
}

function takeLease(entry: Entry, lease: Lease): void {
  entry.leaseToken = lease.token;
  entry.leasedUntil = Date.now() + lease.ms;
}

const toRecord = ({ data, owner, timeout, createdAt, expiresAt }: Entry): SessionRecord => ({
  data,
  owner,
  timeout,
  createdAt,
  expiresAt,
});
