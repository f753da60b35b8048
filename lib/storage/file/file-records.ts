import { Logger } from '@nestjs/common';
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  futimesSync,
  openSync,
  readSync,
  renameSync,
  statSync,
  utimesSync,
  writeFileSync,
  type Stats,
} from 'node:fs';
import { link, mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { RecentTexts } from '../recent-texts.js';
import type { SessionRecord, SessionWrite } from '../session-backend.js';
import { isErrno, unlessMissing, unlessMissingSync } from './file-errors.js';
import { formatSessionFile, parseSessionFile } from './session-file.js';
import { RESTING_TIME, SpareFiles } from './spare-files.js';

export const SESSION_PREFIX = 'session-';
/** How often a file is read again that was replaced while it was read, before it counts as torn. */
const READ_TRIES = 20;

/** A record, and the file that it was read from or written to. */
interface KnownFile {
  record: SessionRecord;
  text: string;
  stats: Stats;
}

/**
 * The records in their files, `<root>/ab/session-<key>`, whose mtime is the expiry. A record is replaced by a rename,
 * so a reader sees the old one or the new one. Takes no locks.
 */
export class FileRecords {
  private readonly logger = new Logger('SessionFileBackend');
  private readonly spares: SpareFiles;
  /** A file that is still the one that was read or written last need not be read: one look instead of four calls. */
  private readonly known = new RecentTexts<KnownFile>();

  /**
   * @param scratch folder for what is not published yet, or kept
   * @param prefix of names there, unique among the processes that use the folder
   */
  constructor(
    private readonly root: string,
    private readonly scratch: string,
    prefix: string,
  ) {
    this.spares = new SpareFiles(scratch, prefix);
  }

  folderOf(key: string): string {
    return `${this.root}/${key.slice(0, 2)}`; // not `join`: the paths of a request took it 6 µs
  }

  pathOf(key: string): string {
    return `${this.folderOf(key)}/${SESSION_PREFIX}${key}`;
  }

  /**
   * A missing file is an absent session only if the storage is there: a disk that is not mounted leaves an
   * empty folder, in which `FileBackend.open()` has made nothing.
   * @throws if it is not
   */
  isPresent(): true {
    statSync(this.scratch);
    return true;
  }

  isStored(key: string): boolean {
    const stats = statSync(this.pathOf(key), { throwIfNoEntry: false });
    return stats ? stats.mtimeMs > Date.now() : !this.isPresent();
  }

  /** @param missing what to say of a file that is not there */
  async hasExpired(path: string, missing = false): Promise<boolean> {
    const stats = await unlessMissing(stat(path));
    return stats ? stats.mtimeMs <= Date.now() : missing;
  }

  /** @param isLocked with the lock in hand, under which nobody else replaces it */
  read(key: string, isLocked: boolean): { record?: SessionRecord; torn?: boolean } {
    const path = this.pathOf(key);
    const record = this.findKnown(key, path);
    if (record) {
      return { record };
    }
    for (let tries = 0; tries < READ_TRIES; tries++) {
      const file = unlessMissingSync(() => openSync(path, 'r'));
      if (file === undefined) {
        this.isPresent();
        return {};
      }
      try {
        // Of the open file, so that content and time belong together whatever is renamed meanwhile.
        const stats = fstatSync(file);
        if (stats.mtimeMs > Date.now()) {
          const record = parseSessionFile(readContent(file, stats.size), key, Math.round(stats.mtimeMs));
          // A file that was replaced since may hold another's record by now, or one that is not published yet.
          if (record && (isLocked || isSameFile(stats, statSync(path, { throwIfNoEntry: false })))) {
            this.remember(key, record, stats);
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

  /** @param isSure the lock is in hand for sure: then nobody replaces the file meanwhile */
  touch(key: string, ttl: number, isSure = false): boolean {
    if (!this.isStored(key)) {
      return false;
    }
    const path = this.pathOf(key);
    const expiresAt = Date.now() + ttl;
    if (!unlessMissingSync(() => (utimesSync(path, expiresAt / 1000, expiresAt / 1000), true))) {
      return !this.isPresent();
    }
    const known = isSure ? this.known.get(key) : undefined;
    if (known) {
      this.remember(key, { ...known.record, expiresAt }, statSync(path, { throwIfNoEntry: false }));
    }
    return true;
  }

  /** @returns false if there is one */
  async create(key: string, write: SessionWrite, name: string): Promise<boolean> {
    const made = join(this.scratch, name);
    try {
      const file = openSync(made, 'wx', 0o600);
      try {
        writeRecord(file, 0, key, write);
      } finally {
        closeSync(file);
      }
      await link(made, this.pathOf(key));
      return true;
    } catch (error) {
      if (isErrno(error, 'EEXIST')) {
        return false;
      }
      throw error;
    } finally {
      await rm(made, { force: true });
    }
  }

  /**
   * @param made where to write what takes the record's place
   * @throws ENOENT if there is no such place, or none any more
   */
  async replace(key: string, write: SessionWrite, made: string): Promise<void> {
    const path = this.pathOf(key);
    const startedAt = performance.now();
    this.known.delete(key); // also where the new one is not remembered: a touch would give the old one its time
    const spare = this.spares.take(made);
    const file = spare?.file ?? openSync(made, 'wx', 0o600);
    let replaced: string | undefined;
    try {
      const record = writeRecord(file, spare?.size ?? 0, key, write);
      replaced = this.spares.link(path);
      await (spare ? renameSync(made, path) : rename(made, path));
      // Later, if the lock was lost on the way, the file may have been replaced, and be another record's by now.
      if (performance.now() - startedAt < RESTING_TIME) {
        this.remember(key, record, fstatSync(file));
      }
    } catch (error) {
      if (replaced !== undefined) {
        this.spares.drop(replaced);
      }
      throw error;
    } finally {
      closeSync(file);
    }
    if (replaced !== undefined) {
      this.spares.keep(replaced); // with the lock in hand from the link to the rename, no other has replaced it
    }
  }

  /** Keeps what is no session out of the way, for a person to look at. With the lock in hand. */
  async setAside(key: string): Promise<void> {
    const folder = join(this.root, 'damaged');
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await unlessMissing(rename(this.pathOf(key), join(folder, SESSION_PREFIX + key)));
    this.logger.warn(`The file of session ${key} is torn or no session; it was moved to the folder damaged`);
  }

  /** Called once, last. */
  close(): void {
    this.spares.removeAll();
  }

  private findKnown(key: string, path: string): SessionRecord | undefined {
    const known = this.known.get(key);
    const stats = known && statSync(path, { throwIfNoEntry: false });
    return known && isSameFile(known.stats, stats) && known.stats.mtimeMs > Date.now()
      ? { ...known.record }
      : undefined;
  }

  private remember(key: string, record: SessionRecord, stats: Stats | undefined): void {
    // Where times are kept to the second, a file that was written anew may look like the one before.
    if (stats && stats.ctimeMs % 1 !== 0) {
      this.known.set(key, { record: { ...record }, text: record.data, stats });
    }
  }
}

/** Whether nothing has been written to it, and nothing put in its place, in between. */
function isSameFile(before: Stats, now: Stats | undefined): boolean {
  return (
    now !== undefined &&
    now.ino === before.ino &&
    now.ctimeMs === before.ctimeMs &&
    now.mtimeMs === before.mtimeMs &&
    now.size === before.size
  );
}

/** As readFileSync, which asks for the size once more, and reads once more to find the end. */
function readContent(file: number, size: number): Buffer {
  const content = Buffer.allocUnsafe(size);
  let length = 0;
  for (let read = -1; read !== 0 && length < size; length += read) {
    read = readSync(file, content, length, size - length, null);
  }
  return content.subarray(0, length);
}

/**
 * @param size bytes of what is in the file
 * @returns what a reader finds
 */
function writeRecord(file: number, size: number, key: string, write: SessionWrite): SessionRecord {
  const { data, owner, timeout, createdAt = Date.now(), ttl } = write;
  const expiresAt = Date.now() + ttl;
  const content = formatSessionFile({ key, createdAt, owner, timeout }, data);
  writeFileSync(file, content);
  if (size > content.length) {
    ftruncateSync(file, content.length);
  }
  futimesSync(file, expiresAt / 1000, expiresAt / 1000);
  return { data, owner, timeout, createdAt, expiresAt };
}
