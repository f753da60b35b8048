import { Logger } from '@nestjs/common';
import {
  closeSync,
  constants,
  fstatSync,
  futimesSync,
  openSync,
  readSync,
  statSync,
  utimesSync,
  writeFileSync,
  type Stats,
} from 'node:fs';
import { link, mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { SessionRecord, SessionWrite } from '../session-backend.js';
import { DamageLog } from '../damage-log.js';
import { isErrno, unlessMissing, unlessMissingSync } from './file-errors.js';
import { makeFolders } from './file-start.js';
import { formatSessionFile, parseSessionFile } from './session-file.js';

export const SESSION_PREFIX = 'session-';
/** What is no file, such as a pipe, must not be waited for. */
const TO_READ = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/**
 * The records in their files, `<root>/ab/session-<key>`, whose mtime is the expiry. A record is replaced by a rename,
 * so a reader sees the old one or the new one: a file that has a name is never written to. Takes no locks.
 */
export class FileRecords {
  private readonly logger = new Logger('SessionFileBackend');
  private readonly damage = new DamageLog('SessionFileBackend');
  /** The file system that the storage was on at the start. */
  private device: number | undefined;

  /**
   * @param scratch folder for what is not published yet
   * @param maxBytes of a file that is read: a larger one is no session's
   */
  constructor(
    private readonly root: string,
    private readonly scratch: string,
    private readonly maxBytes: number,
  ) {}

  /** Makes the folder, readable by this user alone. */
  open(): void {
    makeFolders(this.scratch);
    this.device = statSync(this.root).dev;
  }

  folderOf(key: string): string {
    return `${this.root}/${key.slice(0, 2)}`; // not `join`: the paths of a request took it 6 µs
  }

  /** Not `recursive`: a storage that is gone must not come back empty. */
  async makeFolder(key: string): Promise<void> {
    try {
      await mkdir(this.folderOf(key), { mode: 0o700 });
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) {
        throw error;
      }
    }
  }

  pathOf(key: string): string {
    return `${this.folderOf(key)}/${SESSION_PREFIX}${key}`;
  }

  /**
   * A missing file is an absent session only if the storage is there: a disk that is not mounted leaves an empty folder.
   * One that somebody emptied, on the file system that it was on, is made anew.
   * @throws if it is not there
   */
  ensurePresent(): true {
    if (!statSync(this.scratch, { throwIfNoEntry: false })) {
      if (statSync(this.root).dev !== this.device) {
        throw new Error(
          `ENOENT: ${this.root} is on another file system than at the start; is its disk mounted?`,
        );
      }
      this.logger.warn(`The folder ${this.root} was emptied: the sessions in it are gone. It is made anew`);
      this.open();
    }
    return true;
  }

  isStored(key: string): boolean {
    const stats = statSync(this.pathOf(key), { throwIfNoEntry: false });
    return stats ? stats.mtimeMs > Date.now() : !this.ensurePresent();
  }

  /** @param missing what to say of a file that is not there */
  async hasExpired(path: string, missing = false): Promise<boolean> {
    const stats = await unlessMissing(stat(path));
    return stats ? stats.mtimeMs <= Date.now() : missing;
  }

  read(key: string): { record?: SessionRecord; torn?: boolean } {
    const file = unlessMissingSync(() => openSync(this.pathOf(key), TO_READ));
    if (file === undefined) {
      this.ensurePresent();
      return {};
    }
    try {
      // Of the open file, so that content and time belong together whatever is renamed meanwhile.
      const stats = fstatSync(file);
      if (stats.mtimeMs <= Date.now()) {
        return this.isStored(key) ? this.read(key) : {}; // replaced, in time
      }
      const isReadable = stats.isFile() && stats.size <= this.maxBytes;
      const content = isReadable ? readContent(file, stats.size) : undefined;
      const record = content && parseSessionFile(content, key, timesOf(stats));
      return record ? { record } : { torn: true };
    } finally {
      closeSync(file);
    }
  }

  touch(key: string, ttl: number): boolean {
    if (!this.isStored(key)) {
      return false;
    }
    const expiresAt = (Date.now() + ttl) / 1000;
    const isTouched = unlessMissingSync(() => (utimesSync(this.pathOf(key), expiresAt, expiresAt), true));
    return isTouched ?? !this.ensurePresent();
  }

  /** @returns false if there is one */
  async create(key: string, write: SessionWrite, name: string): Promise<boolean> {
    const made = join(this.scratch, name);
    try {
      writeRecord(made, key, write);
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
    writeRecord(made, key, write);
    await rename(made, this.pathOf(key));
  }

  /** Without the lock, what is no session is left where it is. */
  reportTorn(key: string): void {
    this.damage.warn(
      key,
      `The file of session ${key} is torn, too large or no session: it counts as missing`,
    );
  }

  /** Keeps what is no session out of the way, for a person to look at. With the lock in hand. */
  async setAside(key: string): Promise<void> {
    const folder = join(this.root, 'damaged');
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await unlessMissing(rename(this.pathOf(key), join(folder, SESSION_PREFIX + key)));
    this.logger.warn(
      `The file of session ${key} is torn, too large or no session; it was moved to the folder damaged`,
    );
  }
}

function writeRecord(
  path: string,
  key: string,
  { data, owner, timeout, persistent, createdAt, ttl }: SessionWrite,
): void {
  const now = Date.now();
  const file = openSync(path, 'wx', 0o600);
  try {
    writeFileSync(
      file,
      formatSessionFile({ key, createdAt: createdAt ?? now, owner, timeout, persistent }, data),
    );
    futimesSync(file, (now + ttl) / 1000, (now + ttl) / 1000);
  } finally {
    closeSync(file);
  }
}

const timesOf = ({ mtimeMs, ctimeMs }: Stats) => ({
  expiresAt: Math.round(mtimeMs),
  lastUsedAt: Math.round(ctimeMs),
});

/** One read where one does: what `readFileSync` does beside it takes longer than the read. */
function readContent(file: number, size: number): Buffer {
  const content = Buffer.allocUnsafe(size);
  let length = 0;
  for (let bytes = -1; length < size && bytes !== 0; length += bytes) {
    bytes = readSync(file, content, length, size - length, length);
  }
  return content.subarray(0, length);
}
