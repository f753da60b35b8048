import { Logger } from '@nestjs/common';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  futimesSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { link, mkdir, readdir, rename, rm, stat, unlink, writeFile } from 'node:fs/promises';
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
import { isErrno, unlessMissing, unlessMissingSync } from './file-errors.js';
import { FileLock, isRemoval, removalLease } from './file-lock.js';
import { OwnerIndex } from './owner-index.js';
import { formatSessionFile, parseSessionFile } from './session-file.js';
import { SpareFiles } from './spare-files.js';
import { SpareLocks } from './spare-locks.js';

const PREFIX = 'session-';
const LOCK_SUFFIX = '.lock';
/** Milliseconds after which a leftover of a dead process is removed. */
const LEFTOVER_AGE = 60 * 60_000;
/** Files that a sweep looks at in parallel. */
const SWEEP_WIDTH = 16;
/** Locks after which other work of the process gets its turn, as nothing else in a loop of updates waits for the disk. */
const LOCKS_A_TURN = 20;
/** How often a file is read again that was replaced while it was read, before it counts as torn. */
const READ_TRIES = 20;

/**
 * One file a session, `storagePath/ab/session-<key>`, for the processes of one host. A record is replaced by
 * a rename, so a reader sees the old one or the new one; its expiry is the file's mtime. CherryPy's
 * `FileSession`.
 *
 * What each request does is done at once (`Sync`), but for the rename of a file that was just made, for which ext4
 * goes to the disk: the folder is a local one, where the other steps take microseconds.
 */
export class FileBackend implements SessionBackend {
  private readonly logger = new Logger('SessionFileBackend');
  private readonly root: string;
  private readonly scratch: string;
  private readonly owners: OwnerIndex;
  private readonly spares: SpareLocks;
  private readonly files: SpareFiles;
  private locks = 0;
  /** When a lease was got or renewed last, milliseconds since 1970. */
  private readonly renewedAt = new WeakMap<Lease, number>();

  constructor(storagePath: string) {
    this.root = resolve(storagePath);
    this.scratch = join(this.root, 'tmp');
    this.owners = new OwnerIndex(join(this.root, 'owners'));
    const prefix = randomToken();
    this.spares = new SpareLocks(this.scratch, prefix);
    this.files = new SpareFiles(this.scratch, prefix);
  }

  /** Makes the folder, readable by this user alone. @throws if it cannot be made or written */
  async open(): Promise<void> {
    await mkdir(this.scratch, { recursive: true, mode: 0o700 });
    const probe = join(this.scratch, randomToken());
    await writeFile(probe, '', { mode: 0o600 });
    await unlink(probe);
  }

  async read(key: string): Promise<SessionRecord | undefined> {
    return this.readFile(key, false).record;
  }

  async lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
    if (++this.locks % LOCKS_A_TURN === 0) {
      await nextTurn();
    }
    const lock = this.lockOf(key, lease);
    try {
      if (!(await lock.claim())) {
        // A lock may outlive its record, until it lapses.
        return this.isStored(key) ? 'busy' : undefined;
      }
    } catch (error) {
      if (
        isErrno(error, 'ENOENT') &&
        !statSync(this.folderOf(key), { throwIfNoEntry: false }) &&
        this.isPresent()
      ) {
        return undefined; // no session of this folder was ever stored
      }
      throw error;
    }
    this.renewedAt.set(lease, Date.now());
    let locked = false;
    try {
      const { record, torn } = this.readFile(key, true);
      if (torn) {
        await this.setAside(key);
      }
      locked = record !== undefined;
      return record;
    } finally {
      if (!locked) {
        lock.release(this.isSure(lease));
      }
    }
  }

  async renew(key: string, lease: Lease): Promise<boolean> {
    const renewed = this.isStored(key) && this.lockOf(key, lease).renew();
    if (renewed) {
      this.renewedAt.set(lease, Date.now());
    }
    return renewed;
  }

  async unlock(key: string, lease: Lease, ttl?: number): Promise<void> {
    const lock = this.lockOf(key, lease);
    if (ttl !== undefined && lock.renew()) {
      await this.touch(key, ttl);
    }
    lock.release(this.isSure(lease));
  }

  async touch(key: string, ttl: number): Promise<boolean> {
    if (!this.isStored(key)) {
      return false;
    }
    const expiresAt = new Date(Date.now() + ttl);
    return unlessMissingSync(() => (utimesSync(this.fileOf(key), expiresAt, expiresAt), true)) ?? false;
  }

  async create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
    await this.makeFolder(key);
    if (await this.hasExpired(this.fileOf(key))) {
      await this.remove(key, true); // and the lock that it may have left
    }
    const lock = lease && this.lockOf(key, lease);
    if (lock && !(await lock.claim())) {
      return false;
    }
    if (lease) {
      this.renewedAt.set(lease, Date.now());
    }
    const made = join(this.scratch, randomToken());
    let created = false;
    try {
      await this.indexOwner(key, write);
      writeRecord(openSync(made, 'wx', 0o600), key, write);
      created = await this.linkIfFree(made, key);
      return created;
    } finally {
      await rm(made, { force: true });
      if (!created) {
        lock?.release();
      }
    }
  }

  async save(
    key: string,
    write: SessionWrite,
    lease: Lease,
    { unlock }: { unlock: boolean },
  ): Promise<boolean> {
    if (!this.isStored(key)) {
      return false;
    }
    const lock = this.lockOf(key, lease);
    const made = lock.inside(randomToken());
    let replaced: string | undefined;
    try {
      await this.indexOwner(key, write);
      const spare = this.files.take(made);
      writeRecord(spare ?? openSync(made, 'wx', 0o600), key, write);
      replaced = this.files.link(this.fileOf(key));
      await (spare === undefined ? rename(made, this.fileOf(key)) : renameSync(made, this.fileOf(key)));
    } catch (error) {
      if (replaced !== undefined) {
        this.files.drop(replaced);
      }
      if (isErrno(error, 'ENOENT')) {
        // The lock was lost: to a removal, or to a later holder. Who asks next must see which.
        await lock.waitForRemoval();
        return false;
      }
      await rm(made, { force: true }).catch(() => undefined);
      throw error;
    }
    if (replaced !== undefined) {
      this.files.keep(replaced); // with the lock in hand from the link to the rename, no other has replaced it
    }
    if (unlock) {
      lock.release(this.isSure(lease));
    } else if (lock.renew()) {
      this.renewedAt.set(lease, Date.now());
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
          name.startsWith(PREFIX) &&
          (await this.hasExpired(join(path, name))) &&
          (await this.remove(name.slice(PREFIX.length), true)) === 'expired'
        ) {
          removed++; // not `+= await …`: that adds to what it was before the wait
        }
      });
    }
    await this.removeOldIn(this.scratch);
    await this.owners.prune(async key => (await unlessMissing(stat(this.fileOf(key)))) !== undefined);
    return removed;
  }

  async close(): Promise<void> {
    this.spares.removeAll();
    this.files.removeAll();
  }

  async count(): Promise<number> {
    let count = 0;
    for (const folder of await this.folders()) {
      const path = join(this.root, folder);
      await inParallel((await unlessMissing(readdir(path))) ?? [], async name => {
        if (
          name.startsWith(PREFIX) &&
          !name.endsWith(LOCK_SUFFIX) &&
          !(await this.hasExpired(join(path, name), true))
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

  private folderOf(key: string): string {
    return join(this.root, key.slice(0, 2));
  }

  private fileOf(key: string): string {
    return join(this.folderOf(key), PREFIX + key);
  }

  private lockOf(key: string, lease: Lease): FileLock {
    return new FileLock(this.fileOf(key) + LOCK_SUFFIX, this.spares, lease);
  }

  /** Whether nobody can have taken the lock for a lapsed one; it may be given back, or removed, all the same. */
  private isSure(lease: Lease): boolean {
    return Date.now() - (this.renewedAt.get(lease) ?? 0) < lease.ms / 2;
  }

  private async folders(): Promise<string[]> {
    this.isPresent();
    return (await readdir(this.root)).filter(name => name.length === 2);
  }

  private isStored(key: string): boolean {
    const stats = statSync(this.fileOf(key), { throwIfNoEntry: false });
    return stats ? stats.mtimeMs > Date.now() : !this.isPresent();
  }

  /**
   * A missing file is an absent session only if the storage is there: a disk that is not mounted leaves an
   * empty folder, in which `open()` has made nothing.
   * @throws if it is not
   */
  private isPresent(): true {
    statSync(this.scratch);
    return true;
  }

  /** Not `recursive`: a storage that is gone must not come back empty. */
  private async makeFolder(key: string): Promise<void> {
    try {
      await mkdir(this.folderOf(key), { mode: 0o700 });
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) {
        throw error;
      }
    }
  }

  /** @param missing what to say of a file that is not there */
  private async hasExpired(file: string, missing = false): Promise<boolean> {
    const stats = await unlessMissing(stat(file));
    return stats ? stats.mtimeMs <= Date.now() : missing;
  }

  private async indexOwner(key: string, { owner }: SessionWrite): Promise<void> {
    if (owner !== undefined) {
      await this.owners.add(owner, key);
    }
  }

  /** @param isLocked with the lock in hand, under which nobody else replaces it */
  private readFile(key: string, isLocked: boolean): { record?: SessionRecord; torn?: boolean } {
    for (let tries = 0; tries < READ_TRIES; tries++) {
      const file = unlessMissingSync(() => openSync(this.fileOf(key), 'r'));
      if (file === undefined) {
        this.isPresent();
        return {};
      }
      try {
        // Of the open file, so that content and time belong together whatever is renamed meanwhile.
        const { mtimeMs, ino } = fstatSync(file);
        if (mtimeMs > Date.now()) {
          const record = parseSessionFile(readFileSync(file), key, Math.round(mtimeMs));
          // A file that was replaced since may hold another's record by now, or one that is not published yet.
          if (record && (isLocked || this.isFileOf(key, ino))) {
            return { record };
          }
        } else if (!this.isStored(key)) {
          return {};
        }
      } finally {
        closeSync(file);
      }
    }
    return { torn: true };
  }

  private isFileOf(key: string, ino: number): boolean {
    return statSync(this.fileOf(key), { throwIfNoEntry: false })?.ino === ino;
  }

  private async linkIfFree(made: string, key: string): Promise<boolean> {
    try {
      await link(made, this.fileOf(key));
      return true;
    } catch (error) {
      if (isErrno(error, 'EEXIST')) {
        return false;
      }
      throw error;
    }
  }

  /**
   * Removes a record with its lock in hand, taken from whoever has it. The file is moved into the lock, which
   * fails if the lock was lost meanwhile: so no later holder's record is ever hit.
   * @param expiredOnly leave an unexpired record alone
   * @returns what was removed
   */
  private async remove(key: string, expiredOnly = false): Promise<'live' | 'expired' | undefined> {
    const file = this.fileOf(key);
    for (;;) {
      if (!(await unlessMissing(stat(file)))) {
        this.isPresent();
        return undefined;
      }
      const lock = this.lockOf(key, removalLease(randomToken()));
      const mayRob = async (holder: string) =>
        !expiredOnly || (!isRemoval(holder) && (await this.hasExpired(file)));
      if (!(await lock.claim(mayRob))) {
        return undefined; // it is in use again, or being removed
      }
      try {
        // Seen before it is moved: afterwards, another removal may have taken it along with the lock.
        const removed = (await this.hasExpired(file)) ? 'expired' : 'live';
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
    if (!this.isStored(key)) {
      return false;
    }
    const lock = this.lockOf(key, lease);
    const dead = lock.inside(randomToken());
    try {
      await rename(this.fileOf(key), dead);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) {
        await lock.waitForRemoval();
        return false;
      }
      throw error;
    }
    await unlessMissing(unlink(dead));
    lock.release(this.isSure(lease));
    return true;
  }

  /** Keeps what is no session out of the way, for a person to look at. With the lock in hand. */
  private async setAside(key: string): Promise<void> {
    const folder = join(this.root, 'damaged');
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await unlessMissing(rename(this.fileOf(key), join(folder, PREFIX + key)));
    this.logger.warn(`The file of session ${key} is torn or no session; it was moved to the folder damaged`);
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

/** @param file open, maybe with another record in it; closed afterwards */
function writeRecord(file: number, key: string, write: SessionWrite): void {
  try {
    const content = formatSessionFile(key, write);
    const expiresAt = new Date(Date.now() + write.ttl);
    writeFileSync(file, content);
    ftruncateSync(file, content.length);
    futimesSync(file, expiresAt, expiresAt);
  } finally {
    closeSync(file);
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
