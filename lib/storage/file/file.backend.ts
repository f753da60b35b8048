import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
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
import { hashOwner, HintedOwners, type OwnerHint } from '../hinted-owners.js';
import { LockedAdmission, OWNER_LEASE } from '../locked-admission.js';
import { ownerOf, unlessLater } from '../record-format.js';
import { isErrno, unlessMissing } from './file-errors.js';
import { FileRecords } from './file-records.js';
import { FileLock, LOCK_SUFFIX, LockWatch } from './file-lock.js';
import { FileRemoval } from './file-removal.js';
import { startFolder } from './file-start.js';
import { FileSweep } from './file-sweep.js';
import { OwnerIndex } from './owner-index.js';
import { maxFileSize } from './session-file.js';

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
  private readonly hints: OwnerIndex;
  private readonly owners: HintedOwners<OwnerHint>;
  private readonly records: FileRecords;
  private readonly sweep: FileSweep;
  private readonly removal: FileRemoval;
  private readonly admission: LockedAdmission;
  private readonly watch = new LockWatch();
  /** Of names, unique among the processes that use the folder. */
  private readonly prefix = randomToken();
  private names = 0;
  private locks = 0;

  /** @param maxSize bytes of the largest data, with its owner, that is read */
  constructor(storagePath: string, maxSize = Infinity) {
    this.root = resolve(storagePath);
    this.scratch = join(this.root, 'tmp');
    this.hints = new OwnerIndex(join(this.root, 'owners'));
    this.owners = new HintedOwners(
      this.hints,
      key => this.read(key),
      (key, owner) => this.removeOwned(key, owner),
    );
    this.records = new FileRecords(this.root, this.scratch, maxFileSize(maxSize));
    this.removal = new FileRemoval(this.records, (key, lease) => this.lockOf(key, lease));
    this.admission = new LockedAdmission(this, owner => this.lockOfOwner(owner));
    this.sweep = new FileSweep(this.root, this.scratch, this.records);
  }

  /** Makes the folder, readable by this user alone. @throws SessionOptionsException if it cannot be made, or used */
  async open(): Promise<void> {
    startFolder(this.root, () => this.records.open(), join(this.scratch, randomToken()));
  }

  async read(key: string): Promise<SessionRecord | undefined> {
    const { record, torn } = this.records.read(key);
    if (torn) {
      this.records.reportTorn(key);
    }
    return record;
  }

  async lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
    if (++this.locks % LOCKS_A_TURN === 0) {
      await nextTurn();
    }
    const lock = this.lockOf(key, lease);
    try {
      if (!(await lock.claim())) {
        if (lock.isLeftByRemoval()) {
          await this.removal.remove(key);
        }
        // A lock may outlive its record, until it lapses.
        return this.records.isStored(key) ? 'busy' : undefined;
      }
    } catch (error) {
      if (
        isErrno(error, 'ENOENT') &&
        !existsSync(this.records.folderOf(key)) &&
        this.records.ensurePresent()
      ) {
        return undefined; // no session of this folder was ever stored
      }
      throw error;
    }
    let record: SessionRecord | undefined;
    try {
      const found = this.records.read(key);
      if (found.torn) {
        await this.records.setAside(key);
      }
      record = found.record;
      return record;
    } finally {
      if (!record) {
        lock.remove();
      }
    }
  }

  async renew(key: string, lease: Lease): Promise<boolean> {
    return this.records.isStored(key) && this.lockOf(key, lease).renew();
  }

  async unlock(key: string, lease: Lease, ttl?: number): Promise<void> {
    const lock = this.lockOf(key, lease);
    // The record may have expired since, and another been created: only the lock itself tells.
    if (ttl !== undefined && lock.renew()) {
      this.records.touch(key, ttl);
    }
    lock.release();
  }

  async touch(key: string, ttl: number): Promise<boolean> {
    return this.records.touch(key, ttl);
  }

  async create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
    this.records.ensurePresent();
    await this.records.makeFolder(key);
    if (await this.records.hasExpired(this.records.pathOf(key))) {
      await this.removal.remove(key, true); // and the lock that it may have left
    } else {
      await this.removal.clear(key);
    }
    const lock = lease && this.lockOf(key, lease);
    if (lock && !(await lock.claim())) {
      return false;
    }
    let created = false;
    try {
      await this.indexOwner(key, write);
      created = await this.records.create(key, write, this.newName());
      return created;
    } finally {
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
    if (!this.records.isStored(key)) {
      return false;
    }
    const lock = this.lockOf(key, lease);
    const made = lock.inside(this.newName());
    try {
      await this.indexOwner(key, write);
      await this.records.replace(key, write, made);
    } catch (error) {
      if (isErrno(error, 'ENOENT') && this.records.ensurePresent()) {
        // The lock was lost: to a removal, or to a later holder. Who asks next must see which.
        await lock.waitForRemoval();
        return false;
      }
      await rm(made, { force: true }).catch(() => undefined);
      throw error;
    }
    if (unlock) {
      lock.release();
    } else {
      lock.renew();
    }
    return true;
  }

  async delete(key: string, lease?: Lease): Promise<boolean> {
    return lease ? this.removal.removeHeld(key, lease) : (await this.removal.remove(key)) === 'live';
  }

  async cleanUp(): Promise<number> {
    const removed = await this.sweep.cleanUp(
      async key => (await this.removal.remove(key, true)) === 'expired',
    );
    await this.hints.prune(async key => (await unlessMissing(stat(this.records.pathOf(key)))) !== undefined);
    return removed;
  }

  async count(): Promise<number> {
    return this.sweep.count();
  }

  async close(): Promise<void> {
    // Nothing is open between two calls.
  }

  async list(after: string | undefined, limit: number): Promise<StoredRecord[]> {
    const page: StoredRecord[] = [];
    for await (const key of this.sweep.keys(after)) {
      const record = await unlessLater(this.read(key));
      if (record && page.push({ key, record }) === limit) {
        break;
      }
    }
    return page;
  }

  findByOwner(owner: string): Promise<StoredRecord[]> {
    return this.owners.find(owner);
  }

  async admit(admission: Admission, limit: OwnerLimit): Promise<boolean | 'refused'> {
    this.records.ensurePresent();
    return this.admission.admit(admission, limit);
  }

  deleteByOwner(owner: string, options?: OwnerSelection): Promise<number> {
    return this.owners.delete(owner, options);
  }

  private async removeOwned(key: string, owner: string): Promise<boolean> {
    const isOwned = async () => (await ownerOf(this.read(key))) === owner;
    // Asked before too: to look with its lock in hand takes that from a request.
    return (await isOwned()) && (await this.removal.remove(key, false, isOwned)) === 'live';
  }

  private lockOf(key: string, lease: Lease): FileLock {
    return this.lockAt(this.records.pathOf(key), lease);
  }

  private lockOfOwner(owner: string): FileLock {
    return this.lockAt(`${this.scratch}/owner-${hashOwner(owner)}`, {
      token: randomToken(),
      ms: OWNER_LEASE,
    });
  }

  private lockAt(path: string, lease: Lease): FileLock {
    return new FileLock(path + LOCK_SUFFIX, `${this.scratch}/${this.newName()}`, lease, this.watch);
  }

  private newName(): string {
    return `${this.prefix}-new-${++this.names}`;
  }

  private async indexOwner(key: string, { owner }: SessionWrite): Promise<void> {
    if (owner !== undefined) {
      await this.hints.add(owner, key);
    }
  }
}

const randomToken = (): string => randomBytes(16).toString('base64url');
