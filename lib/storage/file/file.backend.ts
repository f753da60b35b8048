import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { mkdir, readdir, rename, rm, stat, unlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type {
  Lease,
  OwnedRecord,
  OwnerSelection,
  SessionBackend,
  SessionRecord,
  SessionWrite,
} from '../session-backend.js';
import { isErrno, unlessMissing } from './file-errors.js';
import { FileRecords, SESSION_PREFIX } from './file-records.js';
import { FileLock, isRemoval, removalLease } from './file-lock.js';
import { OwnerIndex } from './owner-index.js';
import { SpareLocks } from './spare-locks.js';

const LOCK_SUFFIX = '.lock';
/** Milliseconds after which a leftover of a dead process is removed. */
const LEFTOVER_AGE = 60 * 60_000;
/** Files that a sweep looks at in parallel. */
const SWEEP_WIDTH = 16;
/** Locks after which other work of the process gets its turn, as nothing else in a loop of updates waits for the disk. */
const LOCKS_A_TURN = 20;

/**
 * One file a session, `storagePath/ab/session-<key>`, for the processes of one host. A record is replaced by
 * a rename, so a reader sees the old one or the new one; its expiry is the file's mtime. CherryPy's
 * `FileSession`.
 *
 * What each request does is done at once (`Sync`), but for the rename of a file that was just made, for which ext4
 * goes to the disk: the folder is a local one, where the other steps take microseconds.
 */
export class FileBackend implements SessionBackend {
  private readonly root: string;
  private readonly scratch: string;
  private readonly owners: OwnerIndex;
  private readonly spares: SpareLocks;
  private readonly records: FileRecords;
  /** Of names, unique among the processes that use the folder. */
  private readonly prefix = randomToken();
  private names = 0;
  private locks = 0;
  /** Until when nobody can take a lock for a lapsed one, of those with nothing in them; milliseconds since 1970. */
  private readonly sure = new WeakMap<Lease, { key: string; until: number }>();

  constructor(storagePath: string) {
    this.root = resolve(storagePath);
    this.scratch = join(this.root, 'tmp');
    this.owners = new OwnerIndex(join(this.root, 'owners'));
    this.spares = new SpareLocks(this.scratch, this.prefix);
    this.records = new FileRecords(this.root, this.scratch, this.prefix);
  }

  /** Makes the folder, readable by this user alone. @throws if it cannot be made or written */
  async open(): Promise<void> {
    await mkdir(this.scratch, { recursive: true, mode: 0o700 });
    const probe = join(this.scratch, randomToken());
    await writeFile(probe, '', { mode: 0o600 });
    await unlink(probe);
  }

  async read(key: string): Promise<SessionRecord | undefined> {
    return this.records.read(key, false).record;
  }

  async lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
    if (++this.locks % LOCKS_A_TURN === 0) {
      await nextTurn();
    }
    const lock = this.lockOf(key, lease);
    const askedAt = Date.now();
    try {
      if (!(await lock.claim())) {
        // A lock may outlive its record, until it lapses.
        return this.records.isStored(key) ? 'busy' : undefined;
      }
    } catch (error) {
      if (
        isErrno(error, 'ENOENT') &&
        !statSync(this.records.folderOf(key), { throwIfNoEntry: false }) &&
        this.records.isPresent()
      ) {
        return undefined; // no session of this folder was ever stored
      }
      throw error;
    }
    this.setSure(key, lease, askedAt);
    let locked = false;
    try {
      const { record, torn } = this.records.read(key, true);
      if (torn) {
        await this.records.setAside(key);
      }
      locked = record !== undefined;
      return record;
    } finally {
      if (!locked) {
        lock.release(Date.now() < this.endSure(key, lease));
      }
    }
  }

  async renew(key: string, lease: Lease): Promise<boolean> {
    const askedAt = Date.now();
    const renewed = this.records.isStored(key) && this.lockOf(key, lease).renew();
    if (renewed && this.sure.get(lease)?.key === key) {
      this.setSure(key, lease, askedAt);
    }
    return renewed;
  }

  async unlock(key: string, lease: Lease, ttl?: number): Promise<void> {
    const lock = this.lockOf(key, lease);
    const isSure = Date.now() < this.endSure(key, lease);
    // The record may have expired since, and another been created: only the lock itself tells.
    if (ttl !== undefined && lock.renew()) {
      this.records.touch(key, ttl, isSure);
    }
    lock.release(isSure);
  }

  async touch(key: string, ttl: number): Promise<boolean> {
    return this.records.touch(key, ttl);
  }

  async create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
    await this.makeFolder(key);
    if (await this.records.hasExpired(this.records.pathOf(key))) {
      await this.remove(key, true); // and the lock that it may have left
    }
    const lock = lease && this.lockOf(key, lease);
    const askedAt = Date.now();
    if (lock && !(await lock.claim())) {
      return false;
    }
    if (lease) {
      this.setSure(key, lease, askedAt);
    }
    let created = false;
    try {
      await this.indexOwner(key, write);
      created = await this.records.create(key, write, this.newName());
      return created;
    } finally {
      if (lease && !created) {
        lock!.release(Date.now() < this.endSure(key, lease));
      }
    }
  }

  async save(
    key: string,
    write: SessionWrite,
    lease: Lease,
    { unlock }: { unlock: boolean },
  ): Promise<boolean> {
    if (!this.records.isStored(key)) {
      return false;
    }
    const sureUntil = this.endSure(key, lease);
    const lock = this.lockOf(key, lease);
    const made = lock.inside(this.newName());
    try {
      await this.indexOwner(key, write);
      await this.records.replace(key, write, made);
    } catch (error) {
      if (isErrno(error, 'ENOENT') && this.records.isPresent()) {
        // The lock was lost: to a removal, or to a later holder. Who asks next must see which.
        await lock.waitForRemoval();
        return false;
      }
      await rm(made, { force: true }).catch(() => undefined);
      throw error;
    }
    const askedAt = Date.now();
    if (unlock) {
      lock.release(askedAt < sureUntil);
    } else if (lock.renew() && sureUntil > 0) {
      this.setSure(key, lease, askedAt);
    }
    return true;
  }

  async delete(key: string, lease?: Lease): Promise<boolean> {
    return lease ? this.removeHeld(key, lease) : (await this.remove(key)) === 'live';
  }

  async cleanUp(): Promise<number> {
    let removed = 0;
    for (const folder of await this.folders()) {
      const path = join(this.root, folder);
      const names = (await unlessMissing(readdir(path))) ?? [];
      await inParallel(names, async name => {
        if (name.endsWith(LOCK_SUFFIX)) {
          await this.removeLeftoverLock(path, name);
        } else if (
          name.startsWith(SESSION_PREFIX) &&
          (await this.records.hasExpired(join(path, name))) &&
          (await this.remove(name.slice(SESSION_PREFIX.length), true)) === 'expired'
        ) {
          removed++; // not `+= await …`: that adds to what it was before the wait
        }
      });
    }
    await this.removeOldIn(this.scratch);
    await this.owners.prune(async key => (await unlessMissing(stat(this.records.pathOf(key)))) !== undefined);
    return removed;
  }

  async close(): Promise<void> {
    this.spares.removeAll();
    this.records.close();
  }

  async count(): Promise<number> {
    let count = 0;
    for (const folder of await this.folders()) {
      const path = join(this.root, folder);
      await inParallel((await unlessMissing(readdir(path))) ?? [], async name => {
        if (
          name.startsWith(SESSION_PREFIX) &&
          !name.endsWith(LOCK_SUFFIX) &&
          !(await this.records.hasExpired(join(path, name), true))
        ) {
          count++;
        }
      });
    }
    return count;
  }

  async findByOwner(owner: string): Promise<OwnedRecord[]> {
    const found: OwnedRecord[] = [];
    for (const key of await this.owners.keysOf(owner)) {
      const record = await this.read(key);
      if (record?.owner === owner) {
        found.push({ key, record });
      }
    }
    return found.sort((a, b) => a.record.createdAt - b.record.createdAt);
  }

  async deleteByOwner(owner: string, options: OwnerSelection = {}): Promise<number> {
    let removed = 0;
    const seen = new Set<string>();
    for (;;) {
      // Again and again, as long as there are new ones: a session may be getting a new key just now.
      const keys = (await this.owners.keysOf(owner)).filter(key => !seen.has(key));
      if (keys.length === 0) {
        return removed;
      }
      for (const key of keys) {
        seen.add(key);
        const isMeant = key !== options.except && (options.only === undefined || key === options.only);
        if (isMeant && (await this.read(key))?.owner === owner && (await this.delete(key))) {
          await this.owners.remove(owner, key);
          removed++;
        }
      }
    }
  }

  private lockOf(key: string, lease: Lease): FileLock {
    return new FileLock(this.records.pathOf(key) + LOCK_SUFFIX, this.spares, lease);
  }

  private newName(): string {
    return `${this.prefix}-new-${++this.names}`;
  }

  /** @param askedAt when the lock was asked for or renewed, at the latest: the process may have stood still since */
  private setSure(key: string, lease: Lease, askedAt: number): void {
    this.sure.set(lease, { key, until: askedAt + lease.ms / 2 });
  }

  /** To be called before something is put into a lock, or it is given back: another's may be in its place then. */
  private endSure(key: string, lease: Lease): number {
    const sure = this.sure.get(lease);
    if (sure?.key !== key) {
      return 0;
    }
    this.sure.delete(lease);
    return sure.until;
  }

  private async folders(): Promise<string[]> {
    this.records.isPresent();
    return (await readdir(this.root)).filter(name => name.length === 2);
  }

  /** Not `recursive`: a storage that is gone must not come back empty. */
  private async makeFolder(key: string): Promise<void> {
    try {
      await mkdir(this.records.folderOf(key), { mode: 0o700 });
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) {
        throw error;
      }
    }
  }

  private async indexOwner(key: string, { owner }: SessionWrite): Promise<void> {
    if (owner !== undefined) {
      await this.owners.add(owner, key);
    }
  }

  /**
   * Removes a record with its lock in hand, taken from whoever has it. The file is moved into the lock, which
   * fails if the lock was lost meanwhile: so no later holder's record is ever hit.
   * @param expiredOnly leave an unexpired record alone
   * @returns what was removed
   */
  private async remove(key: string, expiredOnly = false): Promise<'live' | 'expired' | undefined> {
    const file = this.records.pathOf(key);
    for (;;) {
      if (!(await unlessMissing(stat(file)))) {
        this.records.isPresent();
        return undefined;
      }
      const lock = this.lockOf(key, removalLease(randomToken()));
      const mayRob = async (holder: string) =>
        !expiredOnly || (!isRemoval(holder) && (await this.records.hasExpired(file)));
      if (!(await lock.claim(mayRob))) {
        return undefined; // it is in use again, or being removed
      }
      try {
        // Seen before it is moved: afterwards, another removal may have taken it along with the lock.
        const removed = (await this.records.hasExpired(file)) ? 'expired' : 'live';
        if (expiredOnly && removed === 'live') {
          return undefined;
        }
        const dead = lock.inside('removed');
        await rename(file, dead);
        await unlessMissing(unlink(dead)); // an empty lock is faster to release
        return removed;
      } catch (error) {
        if (!isErrno(error, 'ENOENT')) {
          throw error;
        }
      } finally {
        lock.release();
      }
    }
  }

  /** As a save with this lease, but what takes the record's place is nothing. */
  private async removeHeld(key: string, lease: Lease): Promise<boolean> {
    if (!this.records.isStored(key)) {
      return false;
    }
    const lock = this.lockOf(key, lease);
    const sureUntil = this.endSure(key, lease);
    const dead = lock.inside(this.newName());
    try {
      await rename(this.records.pathOf(key), dead);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) {
        await lock.waitForRemoval();
        return false;
      }
      throw error;
    }
    await unlessMissing(unlink(dead));
    lock.release(Date.now() < sureUntil);
    return true;
  }

  /** A process that died between two steps of a removal leaves a lock without a session. */
  private async removeLeftoverLock(folder: string, name: string): Promise<void> {
    const path = join(folder, name);
    const stats = await unlessMissing(stat(path));
    const session = await unlessMissing(stat(path.slice(0, -LOCK_SUFFIX.length)));
    if (!session && stats && Date.now() - stats.mtimeMs > LEFTOVER_AGE) {
      await rm(path, { recursive: true, force: true });
    }
  }

  private async removeOldIn(folder: string): Promise<void> {
    for (const name of await readdir(folder)) {
      const path = join(folder, name);
      const stats = await unlessMissing(stat(path));
      if (stats && Date.now() - stats.mtimeMs > LEFTOVER_AGE) {
        await rm(path, { recursive: true, force: true });
      }
    }
  }
}

/** Runs a step for each item, a few at a time. */
async function inParallel<T>(items: T[], step: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  const worker = async () => {
    for (const item of rest) {
      await step(item);
    }
  };
  await Promise.all(Array.from({ length: SWEEP_WIDTH }, worker));
}

const randomToken = (): string => randomBytes(16).toString('base64url');
