import { randomBytes } from 'node:crypto';
import { rename, stat } from 'node:fs/promises';
import type { Lease } from '../session-backend.js';
import { isErrno, unlessMissing } from './file-errors.js';
import { isRemoval, isSweep, removalLease, sweepLease, type FileLock } from './file-lock.js';
import type { FileRecords } from './file-records.js';

/** Removes sessions, each with its lock: whoever holds it then can save no more. */
export class FileRemoval {
  constructor(
    private readonly records: FileRecords,
    private readonly lockOf: (key: string, lease: Lease) => FileLock,
  ) {}

  /**
   * Removes a record with its lock in hand, taken from whoever has it. The file is moved into the lock, which
   * fails if the lock was lost meanwhile: so no later holder's record is ever hit.
   * @param expiredOnly leave an unexpired record alone
   * @param isMeant asked with the lock in hand: whether it is to be removed as it is now
   * @returns what was removed
   */
  async remove(
    key: string,
    expiredOnly = false,
    isMeant = async () => true,
  ): Promise<'live' | 'expired' | undefined> {
    const file = this.records.pathOf(key);
    for (;;) {
      if (!(await unlessMissing(stat(file)))) {
        this.records.ensurePresent();
        return undefined;
      }
      const lock = this.lockOf(key, (expiredOnly ? sweepLease : removalLease)(randomToken()));
      const mayRob = async (holder: string) =>
        !expiredOnly || (!isRemoval(holder) && !isSweep(holder) && (await this.records.hasExpired(file)));
      if (!(await lock.claim(mayRob))) {
        return undefined; // it is in use again, or being removed
      }
      let isLeft = false;
      try {
        // Seen before it is moved: afterwards, another removal may have taken it along with the lock.
        const removed = (await this.records.hasExpired(file)) ? 'expired' : 'live';
        isLeft = (expiredOnly && removed === 'live') || !(await isMeant());
        if (isLeft) {
          return undefined;
        }
        await rename(file, lock.inside('removed'));
        return removed;
      } catch (error) {
        if (!isErrno(error, 'ENOENT')) {
          throw error;
        }
      } finally {
        if (isLeft) {
          lock.release();
        } else {
          lock.remove();
        }
      }
    }
  }

  /** A removal that died once the session was gone must not take the next one of the key away. */
  async clear(key: string): Promise<void> {
    const lock = this.lockOf(key, removalLease(randomToken()));
    if (lock.isOfRemoval() && (await lock.claim(isRemoval))) {
      lock.remove();
    }
  }

  /** As a save with this lease, but what takes the record's place is nothing. */
  async removeHeld(key: string, lease: Lease): Promise<boolean> {
    if (!this.records.isStored(key)) {
      return false;
    }
    const lock = this.lockOf(key, lease);
    const removal = lock.toRemoval();
    if (!removal) {
      await lock.waitForRemoval();
      return false;
    }
    try {
      await rename(this.records.pathOf(key), removal.inside('removed'));
      return true;
    } catch (error) {
      if (isErrno(error, 'ENOENT')) {
        await lock.waitForRemoval(); // another removal took the lock over, and may not be done yet
        return false;
      }
      throw error;
    } finally {
      removal.remove();
    }
  }
}

const randomToken = (): string => randomBytes(16).toString('base64url');
