import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { SessionException, SessionSerializationException } from '../../exceptions/session.exception.js';
import type { ResolvedSessionOptions } from '../../options/session-options.js';
import { describeError } from '../describe-error.js';
import type { Lease, SessionBackend, SessionRecord, SessionWrite } from '../session-backend.js';
import { MemcachedConnection, type MemcachedItem } from './memcached.connection.js';

/** Bytes of an item that are not its value. */
const ITEM_OVERHEAD = 512;
/**
 * Milliseconds that a lapsed lock stays: who takes it over has to know that there was a holder, who may come back.
 */
const LAPSED_LOCK_MS = 60 * 60_000;
/** Milliseconds until a server that did not answer is asked again to free a lock. */
const FREE_AGAIN = 500;

/** The first line of a session's item; the rest is the data. */
interface Header {
  createdAt: number;
  expiresAt: number;
  owner?: string | undefined;
  timeout?: number | undefined;
  /** New with each save: tells a touch, which changes the item's mark too, from a save by another holder. */
  version: string;
}

interface StoredItem {
  header: Header;
  data: string;
  cas: Buffer;
}

/** What a lease of this process holds: the session as it knows it, and the mark of the lock's item. */
interface Held extends StoredItem {
  key: string;
  lockCas: Buffer;
}

/** @throws SessionException if a server cannot be reached */
export async function openMemcachedBackend(options: ResolvedSessionOptions): Promise<MemcachedBackend> {
  const { servers, username, password, keyPrefix, storageTimeoutMs: timeoutMs } = options;
  const connection = await MemcachedConnection.open({ servers, username, password, timeoutMs });
  try {
    return new MemcachedBackend(connection, await connection.itemLimit(), keyPrefix);
  } catch (error) {
    connection.close();
    throw new SessionException(`memcached cannot be reached: ${describeError(error)}`, { cause: error });
  }
}

/**
 * Sessions in memcached, for any number of processes. A session is an item, and so is its lock. A save carries the
 * mark of the state that was read (compare-and-set), so that neither a holder that lost its lock nor one whose
 * session was removed can write. What memcached forgets (by eviction or a restart) is gone. CherryPy's
 * `MemcachedSession`.
 */
export class MemcachedBackend implements SessionBackend {
  /** By the lease itself, which its request has: what nobody holds any more is forgotten, however its session ended. */
  private readonly held = new WeakMap<Lease, Held>();
  /** Leases that were told `'busy'`: they ask again for the lock's item too, in the same exchange. */
  private readonly waiting = new WeakSet<Lease>();
  /** Locks that are being given back behind the answers. */
  private readonly freeing = new Set<Promise<void>>();
  private isClosed = false;

  /**
   * @param itemLimit bytes that an item may take
   * @param prefix of the keys
   */
  constructor(
    private readonly connection: MemcachedConnection,
    private readonly itemLimit: number,
    private readonly prefix = 'session:',
  ) {}

  async read(key: string): Promise<SessionRecord | undefined> {
    const item = await this.find(key);
    return item && toRecord(item);
  }

  async lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
    const readLock = () => this.connection.get(key, this.lockKey(key));
    const wasBusy = this.waiting.has(lease);
    // One after the other on one connection, so sent together: the session is read under the lock.
    const [added, found, noted] = await Promise.all([
      this.connection.add(key, this.lockKey(key), lockValue(lease), lockTtl(lease)),
      this.find(key),
      wasBusy ? readLock() : undefined,
    ]);
    const lockCas = added ?? (await this.takeOver(key, lease, wasBusy ? noted : await readLock()));
    if (!lockCas) {
      this.waiting.add(lease);
      return found && 'busy';
    }
    // A lock that was taken over may be taken for granted by its holder: a new version refuses its save.
    const item = added ? found : await this.renewVersion(key);
    if (!item) {
      await this.connection.delete(key, this.lockKey(key), lockCas);
      return undefined;
    }
    this.held.set(lease, { ...item, key, lockCas });
    return toRecord(item);
  }

  async renew(key: string, lease: Lease): Promise<boolean> {
    const held = await this.heldBy(key, lease);
    const lockCas =
      held && ((await this.renewHeld(key, lease, held)) ?? (await this.renewAgain(key, lease, held)));
    return lockCas !== undefined;
  }

  async unlock(key: string, lease: Lease, ttl?: number): Promise<void> {
    const held = ttl === undefined ? undefined : await this.heldBy(key, lease);
    const touch = (read: Held, ms: number) =>
      this.write(key, read, { ...read.header, expiresAt: Date.now() + ms }, read.data);
    // By the mark of what was read, so that it changes nothing that another has stored.
    await Promise.all([this.free(key, lease), held && ttl !== undefined ? touch(held, ttl) : undefined]);
  }

  async touch(key: string, ttl: number): Promise<boolean> {
    for (;;) {
      const item = await this.find(key);
      if (!item) {
        return false;
      }
      if (await this.replaceItem(key, { ...item.header, expiresAt: Date.now() + ttl }, item.data, item.cas)) {
        return true;
      }
    }
  }

  async create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
    const now = Date.now();
    const header = toHeader(write, write.createdAt ?? now);
    const value = this.format(header, write.data);
    let cas = await this.connection.add(key, this.itemKey(key), value, write.ttl);
    if (!cas) {
      // There is an item, but maybe one that has expired and is not cleared yet.
      // In this order: a lock that is read before an expired session is not that of a new one.
      const [lock, old] = await Promise.all([
        this.connection.get(key, this.lockKey(key)),
        this.connection.get(key, this.itemKey(key)),
      ]);
      if (!old || parse(old)) {
        return false;
      }
      if (lock) {
        await this.connection.delete(key, this.lockKey(key), lock.cas);
      }
      cas = await this.connection.set(key, this.itemKey(key), value, write.ttl, old.cas);
    }
    if (cas && lease) {
      const lockCas = await this.setLock(key, lease);
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
    if (!held || (await this.isExpired(key, held))) {
      this.freeLater(key, lease);
      return false;
    }
    const header = toHeader(write, held.header.createdAt);
    const [cas, lockCas] = await Promise.all([
      this.write(key, held, header, write.data),
      unlock ? undefined : this.setLock(key, lease, held.lockCas),
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
      this.find(key),
      this.connection.delete(key, this.itemKey(key)),
      this.connection.delete(key, this.lockKey(key)),
    ]);
    return item !== undefined && removed;
  }

  private async deleteHeld(key: string, lease: Lease): Promise<boolean> {
    const held = await this.heldBy(key, lease);
    const isRemoved =
      held &&
      !(await this.isExpired(key, held)) &&
      (await this.ifUnsaved(key, held, cas => this.connection.delete(key, this.itemKey(key), cas)));
    this.freeLater(key, lease);
    return isRemoved ?? false;
  }

  /** memcached removes what has expired by itself. */
  async cleanUp(): Promise<number> {
    return 0;
  }

  async close(): Promise<void> {
    this.isClosed = true;
    await Promise.all(this.freeing);
    this.connection.close();
  }

  private itemKey(key: string): string {
    return this.prefix + key;
  }

  private lockKey(key: string): string {
    return `${this.prefix}${key}:lock`;
  }

  private async find(key: string): Promise<StoredItem | undefined> {
    const item = await this.connection.get(key, this.itemKey(key));
    return item && parse(item);
  }

  private noted(key: string, lease: Lease): Held | undefined {
    const held = this.held.get(lease);
    return held?.key === key ? held : undefined;
  }

  /** What a lease holds: by this object's notes, or, without any, by the lock's item, as long as that names the lease. */
  private async heldBy(key: string, lease: Lease): Promise<Held | undefined> {
    const held = this.noted(key, lease);
    if (held) {
      return held;
    }
    const [lock, item] = await Promise.all([this.connection.get(key, this.lockKey(key)), this.find(key)]);
    return lock && item && tokenOf(lock) === lease.token ? { ...item, key, lockCas: lock.cas } : undefined;
  }

  /** @returns the lock's new mark; undefined if that is another one, or another has saved the session */
  private async renewHeld(key: string, lease: Lease, held: Held): Promise<Buffer | undefined> {
    const [lockCas, item] = await Promise.all([this.setLock(key, lease, held.lockCas), this.find(key)]);
    this.noteLock(lease, lockCas);
    return item?.header.version === held.header.version ? lockCas : undefined;
  }

  /** After a renewal that was under way, the lock has another mark. */
  private async renewAgain(key: string, lease: Lease, held: Held): Promise<Buffer | undefined> {
    const lock = await this.connection.get(key, this.lockKey(key));
    const isHeld = lock !== undefined && tokenOf(lock) === lease.token;
    return isHeld ? this.renewHeld(key, lease, { ...held, lockCas: lock.cas }) : undefined;
  }

  /** Of the session, what a save has noted meanwhile is newer. */
  private noteLock(lease: Lease, lockCas: Buffer | undefined): void {
    const held = this.held.get(lease);
    if (held && lockCas) {
      this.held.set(lease, { ...held, lockCas });
    }
  }

  /** Removes the lock's item, if it is this lease's: by the mark that was noted, or else by its name. */
  private async free(key: string, lease: Lease): Promise<void> {
    const held = this.noted(key, lease);
    if (held) {
      this.held.delete(lease);
    }
    if (held && (await this.connection.delete(key, this.lockKey(key), held.lockCas))) {
      return;
    }
    const lock = await this.connection.get(key, this.lockKey(key));
    if (lock && tokenOf(lock) === lease.token) {
      await this.connection.delete(key, this.lockKey(key), lock.cas);
    }
  }

  /** As `free`, behind the answer. A server that does not answer is asked again, until the lock has lapsed anyway. */
  private freeLater(key: string, lease: Lease): void {
    const work = (async () => {
      for (const end = Date.now() + lease.ms; Date.now() < end && !this.isClosed;) {
        try {
          return await this.free(key, lease);
        } catch {
          await sleep(FREE_AGAIN, undefined, { ref: false });
        }
      }
    })();
    this.freeing.add(work);
    void work.then(() => this.freeing.delete(work));
  }

  private setLock(key: string, lease: Lease, cas?: Buffer): Promise<Buffer | undefined> {
    return this.connection.set(key, this.lockKey(key), lockValue(lease), lockTtl(lease), cas);
  }

  /** Takes a lock whose time has passed; of several that try, one gets it. */
  private async takeOver(
    key: string,
    lease: Lease,
    lock: MemcachedItem | undefined,
  ): Promise<Buffer | undefined> {
    if (!lock) {
      return this.connection.add(key, this.lockKey(key), lockValue(lease), lockTtl(lease)); // freed since
    }
    const isRunning = Number(lock.value.split(' ')[1]) > Date.now(); // not so for an item that is none of ours
    return tokenOf(lock) === lease.token || !isRunning ? this.setLock(key, lease, lock.cas) : undefined;
  }

  private async renewVersion(key: string): Promise<StoredItem | undefined> {
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
  private write(key: string, read: StoredItem, header: Header, data: string): Promise<Buffer | undefined> {
    return this.ifUnsaved(key, read, cas => this.replaceItem(key, header, data, cas));
  }

  /**
   * Does what goes by the mark of the state that was read, as long as nobody else saved since; touches, which
   * change the mark too, do not count.
   * @param act gives nothing if the mark is out of date
   */
  private async ifUnsaved<T>(
    key: string,
    read: StoredItem,
    act: (cas: Buffer) => Promise<T>,
  ): Promise<T | undefined> {
    let { cas } = read;
    for (;;) {
      const done = await act(cas);
      if (done) {
        return done;
      }
      const current = await this.find(key);
      if (current?.header.version !== read.header.version) {
        return undefined;
      }
      ({ cas } = current);
    }
  }

  /** By what this process knows it may have expired, and have been touched by another since. */
  private async isExpired(key: string, { header }: StoredItem): Promise<boolean> {
    return header.expiresAt <= Date.now() && !(await this.find(key));
  }

  private replaceItem(key: string, header: Header, data: string, cas: Buffer): Promise<Buffer | undefined> {
    const ttl = Math.max(0, header.expiresAt - Date.now());
    return this.connection.set(key, this.itemKey(key), this.format(header, data), ttl, cas);
  }

  /** @throws SessionSerializationException: memcached would remove an item whose new value is too large */
  private format(header: Header, data: string): string {
    const value = `${JSON.stringify(header)}\n${data}`;
    const size = value.length * 3 > this.itemLimit ? Buffer.byteLength(value) : 0;
    if (size > this.itemLimit - ITEM_OVERHEAD) {
      throw new SessionSerializationException(
        'data',
        `takes ${size} bytes with its header, more than an item of memcached holds (${this.itemLimit}); ` +
          `keep less in the session, or start memcached with a larger -I`,
      );
    }
    return value;
  }
}

/** @returns undefined for an item that has expired, or is none of ours */
function parse({ value, cas }: MemcachedItem): StoredItem | undefined {
  const end = value.indexOf('\n');
  try {
    const header = JSON.parse(value.slice(0, end)) as Header;
    const isOurs = typeof header.version === 'string' && Number.isFinite(header.createdAt);
    return isOurs && header.expiresAt > Date.now() ? { header, data: value.slice(end + 1), cas } : undefined;
  } catch {
    return undefined;
  }
}

const toHeader = ({ owner, timeout, ttl }: SessionWrite, createdAt: number): Header => ({
  createdAt,
  expiresAt: Date.now() + ttl,
  owner,
  timeout,
  version: newVersion(),
});

const toRecord = ({ header, data }: StoredItem): SessionRecord => ({
  data,
  owner: header.owner,
  timeout: header.timeout,
  createdAt: header.createdAt,
  expiresAt: header.expiresAt,
});

const lockTtl = (lease: Lease): number => lease.ms + LAPSED_LOCK_MS;
const lockValue = (lease: Lease): string => `${lease.token} ${Date.now() + lease.ms}`;
const tokenOf = (lock: MemcachedItem): string => lock.value.split(' ')[0]!;
const newVersion = (): string => randomBytes(9).toString('base64url');
