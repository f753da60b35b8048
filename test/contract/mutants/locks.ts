import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Lease, SessionRecord, SessionWrite } from 'nest-sessions';
import { RamBackend } from '../../../lib/storage/ram/ram.backend.js';
import { LONG, newLease } from '../fixtures.js';
import { LooseBackend } from './loose.backend.js';
import type { Mutant } from './mutant.js';

/** Locks, renewals and unlocks: storages that break the contract in one way each, and tests that refuse them. */
export const locks: Mutant[] = [
  {
    breaks: 'a busy lock is granted',
    Backend: class extends LooseBackend {
      override async lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
        await super.unlock(key, this.holder(key, lease));
        return super.lock(key, lease);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere, locks > invariant 9, crash-safe locks > a lock lapses after its lease and is taken over',
    ],
  },
  {
    breaks: 'a lock in two steps: looked at, taken later',
    Backend: class extends LooseBackend {
      override async lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
        const probe = newLease();
        if ((await super.lock(key, probe)) === 'busy') {
          return 'busy';
        }
        await super.unlock(key, probe);
        await nextTurn();
        await super.unlock(key, this.holder(key, lease));
        return super.lock(key, lease);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere, locks > lock, renew and unlock > gives the record to one lease and is busy for the others',
      'invariant 7, atomic against other clients > invariant 1, no lost update: 20 lockers, read, add one and save: 100 of 100',
    ],
  },
  {
    breaks: 'a lock is taken where no record is',
    Backend: class extends RamBackend {
      private readonly lockedInVain = new Set<string>();
      override async lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
        const result = await super.lock(key, lease);
        if (!result) {
          this.lockedInVain.add(key);
        }
        return result;
      }
      override async create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
        return !this.lockedInVain.has(key) && super.create(key, write, lease);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere, locks > lock, renew and unlock > locks nothing where there is no record',
    ],
  },
  {
    breaks: 'a lock never lapses',
    Backend: class extends RamBackend {
      override lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
        return super.lock(key, { ...lease, ms: lease.ms + LONG });
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere, locks > invariant 9, crash-safe locks > a stalled holder whose lock was taken over can do nothing more',
      'invariant 7, atomic against other clients > invariant 9: of 30 lock() at once, one takes over a lapsed lock, in each of 25 rounds',
    ],
  },
  {
    breaks: 'a renewal renews nothing',
    Backend: class extends RamBackend {
      override async renew(key: string, lease: Lease): Promise<boolean> {
        return super.renew(key, { ...lease, ms: 1 });
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere, locks > invariant 9, crash-safe locks > a lock that is renewed, or saved, in time does not lapse',
    ],
  },
  {
    breaks: 'anybody can renew',
    Backend: class extends RamBackend {
      override async renew(key: string, lease: Lease): Promise<boolean> {
        await super.renew(key, lease);
        return (await super.read(key)) !== undefined;
      }
    },
    refusedBy: [
      'invariant 7, atomic against other clients > invariant 9: of 30 lock() at once, one takes over a lapsed lock, in each of 25 rounds',
    ],
  },
  {
    breaks: 'a renewal succeeds where nothing is',
    Backend: class extends RamBackend {
      override async renew(key: string, lease: Lease): Promise<boolean> {
        return (await super.renew(key, lease)) || (await super.read(key)) === undefined;
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > delete > invariant 2, no resurrection: removes a locked record at once, whose holder saves no more',
      'invariant 7, one behaviour everywhere > an expired record is an absent one > for every method, with nobody sweeping',
      'invariant 7, one behaviour everywhere, locks > lock, renew and unlock > does not mind an unlock or a renewal of what is not there',
    ],
  },
  {
    breaks: 'a renewal takes the lock again',
    Backend: class extends RamBackend {
      override async renew(key: string, lease: Lease): Promise<boolean> {
        await nextTurn();
        const record = await super.lock(key, lease);
        return record !== undefined && record !== 'busy';
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > delete > fences the holder of the removed record from one that is created later',
      'invariant 7, one behaviour everywhere, locks > lock, renew and unlock > is free after it was freed with a renewal under way',
    ],
  },
  {
    breaks: 'anybody can unlock',
    Backend: class extends LooseBackend {
      override unlock(key: string, lease: Lease, ttl?: number): Promise<void> {
        return super.unlock(key, this.holder(key, lease), ttl);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere, locks > lock, renew and unlock > is free after unlock, and only the holder can unlock',
    ],
  },
  {
    breaks: 'an unlock frees nothing',
    Backend: class extends RamBackend {
      override async unlock(): Promise<void> {}
    },
    refusedBy: [
      'invariant 7, atomic against other clients > of 50 lock() at once, one gets the free lock, in each of 25 rounds',
    ],
  },
  {
    breaks: 'an unlock does not touch',
    Backend: class extends RamBackend {
      override unlock(key: string, lease: Lease): Promise<void> {
        return super.unlock(key, lease);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere, locks > lock, renew and unlock > moves expiresAt with unlock, if asked, and if the lease holds the lock',
      'invariant 7, one behaviour everywhere, records > unlock with a time to live moves lastUsedAt',
    ],
  },
  {
    breaks: 'an unlock touches, whoever holds the lock',
    Backend: class extends RamBackend {
      override async unlock(key: string, lease: Lease, ttl?: number): Promise<void> {
        await super.unlock(key, lease);
        if (ttl !== undefined) {
          await super.touch(key, ttl);
        }
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > an expired record is an absent one > for its lease: it has no say in what is created under the key',
      'invariant 7, one behaviour everywhere, locks > lock, renew and unlock > a lease that was given back, or came too late for a create(), moves no expiresAt with its unlock',
    ],
  },
  {
    breaks: 'an unlock inserts',
    Backend: class extends RamBackend {
      override async unlock(key: string, lease: Lease, ttl?: number): Promise<void> {
        await super.unlock(key, lease, ttl);
        await super.create(key, { data: '', ttl: LONG });
      }
    },
    refusedBy: [
      'invariant 7, atomic against other clients > invariant 2, no resurrection: nor do touch, renew and unlock beside a delete, 50 rounds',
    ],
  },
];
