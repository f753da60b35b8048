import { setTimeout as sleep } from 'node:timers/promises';
import { store, surplus } from './owner-limit.js';
import type { Admission, OwnerLimit, SessionBackend } from './session-backend.js';
import { KeyedMutex } from './keyed-mutex.js';

/** A lock between processes, which one claims. */
export interface OwnerLock {
  /** @returns false if another holds it */
  claim(): Promise<boolean>;
  /** @returns whether it is still held */
  renew(): boolean | Promise<boolean>;
  /** Gives it back; does nothing if it was lost. */
  remove(): void | Promise<void>;
}

/** Milliseconds after which the lock of a process that died has to lapse; an admission that takes longer looks again. */
export const OWNER_LEASE = 3_000;
/** Milliseconds that an admission waits for its turn. */
const WAIT_MS = 10_000;
/** Milliseconds between two tries at the lock, at most. */
const TRY_EVERY = 10;

/** Keeps owners to their limits: who gives a session to an owner has the owner's lock meanwhile. */
export class LockedAdmission {
  private readonly mutex = new KeyedMutex();

  /** @param lockOf makes a claim on the owner's lock, which lapses after `OWNER_LEASE` */
  constructor(
    private readonly backend: Required<
      Pick<SessionBackend, 'create' | 'save' | 'renew' | 'delete' | 'findByOwner'>
    >,
    private readonly lockOf: (owner: string) => OwnerLock,
  ) {}

  admit(admission: Admission, limit: OwnerLimit): Promise<boolean | 'refused'> {
    const { owner } = admission.write;
    return this.mutex.runExclusive(owner, () => this.admitNow(admission, limit));
  }

  private async admitNow(admission: Admission, { max, refuses }: OwnerLimit): Promise<boolean | 'refused'> {
    const { key, write, lease, save } = admission;
    const { backend } = this;
    for (let isStored = false; ;) {
      const lock = await this.take(write.owner);
      try {
        const leaving = surplus(await backend.findByOwner(write.owner), key, max);
        if (leaving.length > 0 && refuses) {
          if (isStored) {
            await backend.delete(key);
          }
          return 'refused';
        }
        if (!isStored && save && !(await backend.renew(key, lease))) {
          return false; // for nothing, nobody else's session ends
        }
        for (const other of leaving) {
          await backend.delete(other.key);
        }
        isStored ||= await store(backend, admission);
        // One that stood still until its lock was another's looks again: both may have been let in.
        if (!isStored || (await lock.renew())) {
          return isStored;
        }
      } finally {
        await lock.remove();
      }
    }
  }

  private async take(owner: string): Promise<OwnerLock> {
    const lock = this.lockOf(owner);
    for (const end = performance.now() + WAIT_MS; !(await lock.claim());) {
      if (performance.now() > end) {
        throw new Error(`an owner's lock was not free within ${WAIT_MS} ms`);
      }
      await sleep(Math.random() * TRY_EVERY);
    }
    return lock;
  }
}
