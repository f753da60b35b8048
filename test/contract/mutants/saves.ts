import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Lease, SessionRecord, SessionWrite } from 'nest-sessions';
import { RamBackend } from '../../../lib/storage/ram/ram.backend.js';
import { newLease } from '../fixtures.js';
import { LooseBackend } from './loose.backend.js';
import type { Mutant } from './mutant.js';

type Unlock = { unlock: boolean };

/** Saves and touches: storages that break the contract in one way each, and tests that refuse them. */
export const saves: Mutant[] = [
  {
    breaks: 'no fence: whoever saves has the lock',
    Backend: class extends LooseBackend {
      override async save(key: string, write: SessionWrite, lease: Lease, options: Unlock): Promise<boolean> {
        await this.steal(key, lease);
        return super.save(key, write, lease, options);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > save and touch > keeps the lock or frees it, as told',
      'invariant 7, one behaviour everywhere > save and touch > saves nothing without the lock',
    ],
  },
  {
    breaks: 'a save inserts (upsert)',
    Backend: class extends RamBackend {
      override async save(key: string, write: SessionWrite, lease: Lease, options: Unlock): Promise<boolean> {
        const isSaved = await super.save(key, write, lease, options);
        return isSaved || ((await super.read(key)) === undefined && super.create(key, write, lease));
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > save and touch > invariant 2, no resurrection: save inserts nothing',
    ],
  },
  {
    breaks: 'a save that saves nothing',
    Backend: class extends RamBackend {
      override async save(key: string, write: SessionWrite, lease: Lease, options: Unlock): Promise<boolean> {
        const record = await super.read(key);
        return super.save(key, { ...write, ...(record && { data: record.data }) }, lease, options);
      }
    },
    refusedBy: [
      'invariant 7, atomic against other clients > invariant 1, no lost update: 20 lockers, read, add one and save: 100 of 100',
    ],
  },
  {
    breaks: 'a save in two steps, removing first',
    Backend: class extends RamBackend {
      override async save(key: string, write: SessionWrite, lease: Lease, options: Unlock): Promise<boolean> {
        const createdAt = (await super.read(key))?.createdAt;
        if (!(await super.delete(key, lease))) {
          return false;
        }
        await nextTurn();
        await super.create(key, { ...write, createdAt }, options.unlock ? undefined : lease);
        return true;
      }
    },
    refusedBy: [
      'invariant 7, atomic against other clients > invariant 2, no resurrection: delete and save at once leave no record, 200 rounds',
      'invariant 7, atomic against other clients > a reader beside 150 saves always finds one of the saved states, never going back',
    ],
  },
  {
    breaks: 'a save that asks for the lock, and saves later',
    Backend: class extends LooseBackend {
      override async save(key: string, write: SessionWrite, lease: Lease, options: Unlock): Promise<boolean> {
        if (this.holder(key, newLease()).token !== lease.token) {
          return false;
        }
        for (let turn = 0; turn < 5; turn++) {
          await nextTurn();
        }
        await this.steal(key, lease);
        return super.save(key, write, lease, options);
      }
    },
    refusedBy: [
      'invariant 7, atomic against other clients > invariant 9: a late save and a take-over at once: never both of one state, 100 rounds',
    ],
  },
  {
    breaks: 'a save that sets createdAt',
    Backend: class extends RamBackend {
      override async save(key: string, write: SessionWrite, lease: Lease, options: Unlock): Promise<boolean> {
        if (!(await super.delete(key, lease))) {
          return false;
        }
        return super.create(key, { ...write, createdAt: undefined }, options.unlock ? undefined : lease);
      }
    },
    refusedBy: ['invariant 7, one behaviour everywhere > save and touch > replaces all but createdAt'],
  },
  {
    breaks: 'a save always keeps the lock',
    Backend: class extends RamBackend {
      override save(key: string, write: SessionWrite, lease: Lease): Promise<boolean> {
        return super.save(key, write, lease, { unlock: false });
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > create and read > creates with the lock taken, if a lease is given',
    ],
  },
  {
    breaks: 'a save does not restart the lease',
    Backend: class extends RamBackend {
      private readonly until = new Map<string, number>();
      override lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
        this.until.set(lease.token, this.until.get(lease.token) ?? Date.now() + lease.ms);
        return super.lock(key, lease);
      }
      override async save(key: string, write: SessionWrite, lease: Lease, options: Unlock): Promise<boolean> {
        const ms = (this.until.get(lease.token) ?? Infinity) - Date.now();
        return super.save(key, write, { ...lease, ms: Math.min(ms, lease.ms) }, options);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere, locks > invariant 9, crash-safe locks > a lock that is renewed, or saved, in time does not lapse',
    ],
  },
  {
    breaks: 'a touch inserts',
    Backend: class extends RamBackend {
      override async touch(key: string, ttl: number): Promise<boolean> {
        return (await super.touch(key, ttl)) || super.create(key, { data: '', ttl });
      }
    },
    refusedBy: ['invariant 7, one behaviour everywhere > save and touch > touches nothing that is not there'],
  },
  {
    breaks: 'a touch moves nothing',
    Backend: class extends RamBackend {
      override async touch(key: string, ttl: number): Promise<boolean> {
        return ttl > 1 ? (await super.read(key)) !== undefined : super.touch(key, ttl);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > save and touch > touches with or without a lock, which stays as it is',
      'invariant 7, one behaviour everywhere, records > touch moves lastUsedAt',
    ],
  },
  {
    breaks: 'a touch frees the lock',
    Backend: class extends LooseBackend {
      override async touch(key: string, ttl: number): Promise<boolean> {
        await super.unlock(key, this.holder(key, newLease()));
        return super.touch(key, ttl);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > save and touch > touches with or without a lock, which stays as it is',
    ],
  },
];
