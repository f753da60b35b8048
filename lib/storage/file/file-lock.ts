import { mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { Lease } from '../session-backend.js';
import { isErrno, removeIfEmpty, unlessMissingSync } from './file-errors.js';

/** What the name of a session's lock ends with. */
export const LOCK_SUFFIX = '.lock';
/** Milliseconds: what a removal, or a sweep, may take with a session's lock in hand. */
const REMOVAL_MS = 10_000;
/** How the tokens of leases begin that a session is removed with, or what has expired. */
const REMOVAL = 'removal-';
const SWEEP = 'sweep-';
/** Locks of others that are waited for at a time, or were a moment ago. */
const MAX_WATCHED = 10_000;

/** The name of a baton that nobody holds. */
const FREE = 'free';

/**
 * A lock between processes: a folder, and in it the baton, a folder that bears the holder's name:
 * `<lock>/<token>.<lease ms>/`, or `<lock>/free/`. Each step that decides something is one rename, which the file system
 * does whole or not at all:
 *
 * | step | rename | fails if |
 * | --- | --- | --- |
 * | claim | `free` to `<token>` | another was first |
 * | steal, once it has lapsed | `<old token>` to `<new token>` | another thief was first, or it was given back |
 * | save | the new file, out of `<token>`, to the session's name | the lock was lost: there is no such path |
 * | remove | the session's file, into `<token>` | the lock was lost |
 * | become a removal | `<token>` to `removal-<token>` | the lock was lost |
 * | give back | `<token>` to `free` | the lock was lost |
 * | make, for the first time | a prepared folder, with `<token>` in it, to `<lock>` | there is one with a baton |
 *
 * A thief empties the baton before it goes on: so nothing is published late, not even by a rename that was under way. Nor is
 * a session used again that was being removed: who finds such a lock lapsed finishes the removal.
 * The lock stays where it is, with its session, until that is removed: who moves a lock away, to use it for another,
 * can't know whose it is by then. test/models/file-lock.pml proves the one, and refuses the other.
 *
 * It was claimed at the mtime of the lock, in which the baton got its name, and renewed at that of the baton. The steps
 * are done at once (`Sync`): each takes some microseconds on a local disk, and several times that, on two threads, when it
 * is waited for.
 */
export class FileLock {
  private readonly name: string;
  private readonly baton: string;

  /**
   * @param path the lock's folder
   * @param made where to make what becomes the lock, on the same file system; nobody else's
   */
  constructor(
    private readonly path: string,
    private readonly made: string,
    private readonly lease: Lease,
    private readonly watch: LockWatch,
  ) {
    this.name = `${lease.token}.${lease.ms}`;
    this.baton = `${path}/${this.name}`;
  }

  /** Where the holder prepares what it will rename out, and moves what it will remove. */
  inside(name: string): string {
    return `${this.baton}/${name}`;
  }

  /**
   * Takes the lock if it is free or lapsed; that of a removal only for another one.
   * @param mayRob whether to take it from this holder too; one who comes after this was asked is safe
   * @returns false if another holds it
   * @throws ENOENT if the folder above the lock does not exist, or the one to make it in
   */
  async claim(mayRob: (holder: string) => boolean | Promise<boolean> = () => false): Promise<boolean> {
    for (;;) {
      if (this.pass(FREE, this.name)) {
        return true;
      }
      const holder = this.holder();
      if (holder === this.name || (holder === undefined && this.make())) {
        return true;
      }
      if (holder !== undefined && holder !== FREE) {
        const isFree = this.hasLapsed(holder) && (!isRemoval(holder) || isRemoval(this.name));
        if (!isFree && !(await mayRob(holder))) {
          return false;
        }
        if (this.steal(holder)) {
          return true;
        }
      }
    }
  }

  /** @returns whether this lease still holds the lock */
  renew(): boolean {
    const now = new Date();
    return unlessMissingSync(() => (utimesSync(this.baton, now, now), true)) ?? false;
  }

  /** Gives the lock back; does nothing if it was lost. */
  release(): void {
    this.pass(this.name, FREE);
  }

  /** Gives it back for good, with what is in it: there is no session any more. Does nothing if it was lost. */
  remove(): void {
    rmSync(this.baton, { recursive: true, force: true });
    removeIfEmpty(this.path);
  }

  /**
   * Turns it into the lock of a removal: one that lapses before it is done is finished by another.
   * @returns undefined if it was lost
   */
  toRemoval(): FileLock | undefined {
    const removal = new FileLock(this.path, this.made, removalLease(this.lease.token), this.watch);
    return this.pass(this.name, removal.name) ? removal : undefined;
  }

  /** Whether a removal has it, at work or dead. */
  isOfRemoval(): boolean {
    const holder = this.holder();
    return holder !== undefined && isRemoval(holder);
  }

  /** Whether a removal has not come to its end. */
  isLeftByRemoval(): boolean {
    const holder = this.holder();
    return holder !== undefined && isRemoval(holder) && this.hasLapsed(holder);
  }

  /** Waits while a removal has the lock: for one whose lock was lost to it, the record is as good as gone. */
  async waitForRemoval(): Promise<void> {
    for (;;) {
      const holder = this.holder();
      if (!holder || !(isRemoval(holder) || isSweep(holder)) || this.hasLapsed(holder)) {
        return;
      }
      await sleep(1);
    }
  }

  /** The step that decides. @returns false if the baton has another name */
  private pass(from: string, to: string): boolean {
    return unlessMissingSync(() => (renameSync(`${this.path}/${from}`, `${this.path}/${to}`), true)) ?? false;
  }

  private make(): boolean {
    mkdirSync(this.made, { mode: 0o700 }); // not `recursive`: a storage that is gone must not come back empty
    try {
      mkdirSync(`${this.made}/${this.name}`, { mode: 0o700 });
      renameSync(this.made, this.path);
      return true;
    } catch (error) {
      rmSync(this.made, { recursive: true, force: true }); // on a full disk, too: nothing is to be left there
      // EPERM: Windows renames onto no folder at all, not even an empty one.
      if (isErrno(error, 'ENOTEMPTY', 'EEXIST', 'EPERM')) {
        return false;
      }
      throw error;
    }
  }

  /** The baton's name; undefined if there is no lock. */
  private holder(): string | undefined {
    const names = unlessMissingSync(() => readdirSync(this.path));
    if (names?.length === 0) {
      removeIfEmpty(this.path); // what a crash between two steps of a removal left
    }
    return names?.[0];
  }

  private hasLapsed(holder: string): boolean {
    const lock = statSync(this.path, { throwIfNoEntry: false });
    const baton = statSync(`${this.path}/${holder}`, { throwIfNoEntry: false });
    if (!lock || !baton) {
      return false; // it is not the holder any more
    }
    const given = Number(holder.split('.')[1]);
    const leaseMs = Number.isFinite(given) ? given : this.lease.ms;
    const renewedAt = Math.max(lock.mtimeMs, baton.mtimeMs);
    const isOld = Date.now() - renewedAt > leaseMs;
    return isOld || this.watch.unchangedFor(this.path, `${holder} ${renewedAt}`) > leaseMs;
  }

  private steal(holder: string): boolean {
    if (!this.pass(holder, this.name)) {
      return false;
    }
    // A rename out of it may be under way, its path looked up before: it must find nothing to rename.
    for (const name of unlessMissingSync(() => readdirSync(this.baton)) ?? []) {
      rmSync(this.inside(name), { force: true });
    }
    return this.renew(); // another may have robbed it meanwhile
  }
}

/**
 * For how long this process has seen a lock unchanged, by a clock that nobody sets: after the clock of files was put
 * back, the lock of a dead process would look fresh until that catches up.
 */
export class LockWatch {
  private readonly seen = new LRUCache<string, { state: string; since: number }>({ max: MAX_WATCHED });

  /** @returns milliseconds */
  unchangedFor(path: string, state: string): number {
    const known = this.seen.get(path);
    const now = performance.now();
    if (known?.state === state) {
      return now - known.since;
    }
    this.seen.set(path, { state, since: now });
    return 0;
  }
}

/** Whether it holds the lock to remove the session. */
export const isRemoval = (holder: string): boolean => holder.startsWith(REMOVAL);

/** Whether it holds the lock to remove what has expired. */
export const isSweep = (holder: string): boolean => holder.startsWith(SWEEP);

/** @param token unique */
export const removalLease = (token: string): Lease => ({ token: REMOVAL + token, ms: REMOVAL_MS });

/** @param token unique */
export const sweepLease = (token: string): Lease => ({ token: SWEEP + token, ms: REMOVAL_MS });
