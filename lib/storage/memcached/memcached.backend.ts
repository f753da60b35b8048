import { DamageLog } from '../damage-log.js';
import type { Lease, SessionBackend, SessionRecord, SessionWrite } from '../session-backend.js';
import { usedNow } from '../used-now.js';
import { MemcachedConnection } from './memcached.connection.js';
import {
  formatItem,
  isLive,
  newVersion,
  parseItem,
  toHeader,
  toRecord,
  type ItemHeader,
  type SessionItem,
} from './memcached.item.js';
import { MemcachedLocks } from './memcached.locks.js';

/** What a lease of this process holds: the session as it knows it, and the mark of the lock's item. */
interface Held extends SessionItem {
  key: string;
  lockCas: Buffer;
}

/**
 * Sessions in memcached, for any number of processes. A session is an item, and so is its lock. A save carries the
 * mark of the state that was read (compare-and-set), so that neither a holder that lost its lock nor one whose
 * session was removed can write. What memcached forgets (by eviction or a restart) is gone. CherryPy's
 * `MemcachedSession`.
 */
export class MemcachedBackend implements SessionBackend {
  private readonly locks: MemcachedLocks;
  private readonly damage = new DamageLog('SessionMemcachedBackend');
  /** By the lease itself, which its request has: what nobody holds any more is forgotten, however its session ended. */
  private readonly held = new WeakMap<Lease, Held>();
  /** Leases that were told `'busy'`: they ask again for the lock's item too, in the same exchange. */
  private readonly waiting = new WeakSet<Lease>();

  /**
   * @param itemLimit bytes that an item may take
   * @param prefix of the keys
   */
  constructor(
    private readonly connection: MemcachedConnection,
    private readonly itemLimit: number,
    private readonly prefix: string,
  ) {
    this.locks = new MemcachedLocks(connection, prefix);
  }

  async read(key: string): Promise<SessionRecord | undefined> {
    const item = await this.find(key);
    return item && toRecord(item);
  }

  async lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
    const wasBusy = this.waiting.has(lease);
    // One after the other on one connection, so sent together: the session is read under the lock.
    const [added, found, noted] = await Promise.all([
      this.locks.add(key, lease),
      this.find(key),
      wasBusy ? this.locks.get(key) : undefined,
    ]);
    const lockCas =
      added ?? (await this.locks.takeOver(key, lease, wasBusy ? noted : await this.locks.get(key)));
    if (!lockCas) {
      this.waiting.add(lease);
      return found && 'busy';
    }
    // A lock that was taken over may be taken for granted by its holder: a new version refuses its save.
    const item = added ? found : await this.renewVersion(key);
    if (!item) {
      await this.locks.delete(key, lockCas);
      return undefined;
    }
    this.held.set(lease, { ...item, key, lockCas });
    return toRecord(item);
  }

  async renew(key: string, lease: Lease): Promise<boolean> {
    const held = await this.heldBy(key, lease);
    if (!held) {
      return false;
    }
    if (await this.renewHeld(held, lease)) {
      return true;
    }
    // After a renewal that was under way, the lock has another mark.
    const lockCas = await this.locks.find(key, lease);
    return lockCas !== undefined && (await this.renewHeld({ ...held, lockCas }, lease));
  }

  async unlock(key: string, lease: Lease, ttl?: number): Promise<void> {
    const held = ttl === undefined ? this.noted(key, lease) : await this.heldBy(key, lease);
    this.forget(key, lease);
    await Promise.all([
      this.locks.free(key, lease, held?.lockCas),
      // By the mark of what was read, so that it changes nothing that another has stored.
      held && ttl !== undefined
        ? this.write(held, { ...held.header, ...usedNow(ttl) }, held.data)
        : undefined,
    ]);
  }

  async touch(key: string, ttl: number): Promise<boolean> {
    for (;;) {
      const item = await this.find(key);
      if (!item) {
        return false;
      }
      if (await this.replaceItem(key, { ...item.header, ...usedNow(ttl) }, item.data, item.cas)) {
        return true;
      }
    }
  }

  async create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
    const header = toHeader(write, write.createdAt ?? Date.now());
    const value = formatItem(header, write.data, this.itemLimit);
    let cas = await this.connection.add(key, this.itemKey(key), value, write.ttl);
    if (!cas) {
      // There is an item, but maybe one that has expired and is not cleared yet.
      // In this order: a lock that is read before an expired session is not that of a new one.
      const [lock, old] = await Promise.all([
        this.locks.get(key),
        this.connection.get(key, this.itemKey(key)),
      ]);
      if (!old || parseItem(key, old)) {
        return false;
      }
      if (lock) {
        await this.locks.delete(key, lock.cas);
      }
      cas = await this.connection.set(key, this.itemKey(key), value, write.ttl, old.cas);
    }
    if (cas && lease) {
      const lockCas = await this.locks.set(key, lease);
      this.held.set(lease, { key, header, data: write.data, cas, lockCas: lockCas! });
    }
    return cas !== undefined;
  }

  /** The lock is freed once the session is stored: until then, a touch by another may make a second try necessary. */
  async save(
    key: string,
    write: SessionWrite,
    lease: Lease,
    { unlock }: { unlock: boolean },
  ): Promise<boolean> {
    const held = await this.heldBy(key, lease);
    if (!held || (await this.isExpired(held))) {
      this.freeLater(key, lease);
      return false;
    }
    const header = toHeader(write, held.header.createdAt);
    const [cas, lockCas] = await Promise.all([
      this.write(held, header, write.data),
      unlock ? undefined : this.locks.set(key, lease, held.lockCas),
    ]);
    if (cas && !unlock) {
      this.held.set(lease, { key, header, data: write.data, cas, lockCas: lockCas ?? held.lockCas });
    } else {
      this.freeLater(key, lease);
    }
    return cas !== undefined;
  }

  async delete(key: string, lease?: Lease): Promise<boolean> {
    if (lease) {
      return this.deleteHeld(key, lease);
    }
    const [item, removed] = await Promise.all([
      this.connection.get(key, this.itemKey(key)),
      this.connection.delete(key, this.itemKey(key)),
      this.locks.delete(key),
    ]);
    return item !== undefined && isLive(item) && removed;
  }

  /** memcached removes what has expired by itself. */
  async cleanUp(): Promise<number> {
    return 0;
  }

  async close(): Promise<void> {
    await this.locks.close();
    this.connection.close();
  }

  private async deleteHeld(key: string, lease: Lease): Promise<boolean> {
    const held = await this.heldBy(key, lease);
    const isRemoved =
      held &&
      !(await this.isExpired(held)) &&
      (await this.ifUnsaved(held, cas => this.connection.delete(key, this.itemKey(key), cas)));
    this.freeLater(key, lease);
    return isRemoved ?? false;
  }

  /** @returns false if the lock has another mark, or another has saved the session */
  private async renewHeld({ key, header, lockCas: before }: Held, lease: Lease): Promise<boolean> {
    const [lockCas, item] = await Promise.all([this.locks.set(key, lease, before), this.find(key)]);
    const held = this.noted(key, lease);
    if (held && lockCas) {
      this.held.set(lease, { ...held, lockCas }); // of the session, what a save has noted meanwhile is newer
    }
    const own = [header.version, held?.header.version];
    return lockCas !== undefined && item !== undefined && own.includes(item.header.version);
  }

  private freeLater(key: string, lease: Lease): void {
    this.locks.freeLater(key, lease, this.noted(key, lease)?.lockCas);
    this.forget(key, lease);
  }

  /** What a lease holds: by this object's notes, or, without any, by the lock's item, as long as that names the lease. */
  private async heldBy(key: string, lease: Lease): Promise<Held | undefined> {
    const held = this.noted(key, lease);
    if (held) {
      return held;
    }
    const [lockCas, item] = await Promise.all([this.locks.find(key, lease), this.find(key)]);
    return lockCas && item && { ...item, key, lockCas };
  }

  private noted(key: string, lease: Lease): Held | undefined {
    const held = this.held.get(lease);
    return held?.key === key ? held : undefined;
  }

  private forget(key: string, lease: Lease): void {
    if (this.noted(key, lease)) {
      this.held.delete(lease);
    }
  }

  private itemKey(key: string): string {
    return this.prefix + key;
  }

  private async find(key: string): Promise<SessionItem | undefined> {
    const item = await this.connection.get(key, this.itemKey(key));
    return item && parseItem(key, item, this.damage);
  }

  private async renewVersion(key: string): Promise<SessionItem | undefined> {
    for (;;) {
      const item = await this.find(key);
      if (!item) {
        return undefined;
      }
      const header = { ...item.header, version: newVersion() };
      const cas = await this.replaceItem(key, header, item.data, item.cas);
      if (cas) {
        return { header, data: item.data, cas };
      }
    }
  }

  /** @returns the new mark, or undefined if another saved since */
  private write(held: Held, header: ItemHeader, data: string): Promise<Buffer | undefined> {
    return this.ifUnsaved(held, cas => this.replaceItem(held.key, header, data, cas));
  }

  /**
   * Does what goes by the mark of the state that was read, as long as nobody else saved since; touches, which
   * change the mark too, do not count.
   * @param act gives nothing if the mark is out of date
   */
  private async ifUnsaved<T>(
    { key, header, cas: read }: Held,
    act: (cas: Buffer) => Promise<T>,
  ): Promise<T | undefined> {
    for (let cas = read; ;) {
      const done = await act(cas);
      if (done) {
        return done;
      }
      const current = await this.find(key);
      if (current?.header.version !== header.version) {
        return undefined;
      }
      ({ cas } = current);
    }
  }

  /** By what this process knows it may have expired, and have been touched by another since. */
  private async isExpired({ key, header }: Held): Promise<boolean> {
    return header.expiresAt <= Date.now() && !(await this.find(key));
  }

  private replaceItem(
    key: string,
    header: ItemHeader,
    data: string,
    cas: Buffer,
  ): Promise<Buffer | undefined> {
    const ttl = Math.max(0, header.expiresAt - Date.now());
    return this.connection.set(key, this.itemKey(key), formatItem(header, data, this.itemLimit), ttl, cas);
  }
}
