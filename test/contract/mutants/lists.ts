import type { Lease, OwnerSelection, SessionWrite, StoredRecord } from 'nest-sessions';
import { RamBackend } from '../../../lib/storage/ram/ram.backend.js';
import { newLease } from '../fixtures.js';
import { LooseBackend } from './loose.backend.js';
import type { Mutant } from './mutant.js';

type Unlock = { unlock: boolean };

/** Owners, lists, counts and sweeps: storages that break the contract in one way each, and tests that refuse them. */
export const lists: Mutant[] = [
  {
    breaks: 'owners are lost',
    Backend: class extends RamBackend {
      override create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
        return super.create(key, { ...write, owner: undefined }, lease);
      }
      override save(key: string, write: SessionWrite, lease: Lease, options: Unlock): Promise<boolean> {
        return super.save(key, { ...write, owner: undefined }, lease, options);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > create and read > stores what was written, with times by the storage',
    ],
  },
  {
    breaks: 'an owner stays for good',
    Backend: class extends RamBackend {
      override async save(key: string, write: SessionWrite, lease: Lease, options: Unlock): Promise<boolean> {
        const owner = (await super.read(key))?.owner ?? write.owner;
        return super.save(key, { ...write, owner }, lease, options);
      }
    },
    refusedBy: ['invariant 7, one behaviour everywhere, owners > follows a change of owner'],
  },
  {
    breaks: 'owners in any order',
    Backend: class extends RamBackend {
      override async findByOwner(owner: string): Promise<StoredRecord[]> {
        return (await super.findByOwner(owner)).toReversed();
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere, owners > finds the records of an owner, oldest first',
    ],
  },
  {
    breaks: 'owners without regard to case and form',
    Backend: class extends RamBackend {
      override create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
        const owner = write.owner?.toLowerCase().normalize('NFKC').slice(0, 300);
        return super.create(key, { ...write, owner }, lease);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere, owners > takes any text for an owner, and takes no two for the same',
    ],
  },
  {
    breaks: 'all sessions of an owner go, whichever are asked for',
    Backend: class extends RamBackend {
      override deleteByOwner(owner: string): Promise<number> {
        return super.deleteByOwner(owner);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere, owners > deletes the records of an owner, all, all but one or one',
    ],
  },
  {
    breaks: 'an owner’s locked sessions stay',
    Backend: class extends RamBackend {
      override async deleteByOwner(owner: string, options: OwnerSelection = {}): Promise<number> {
        let count = 0;
        for (const { key } of await super.findByOwner(owner)) {
          const lease = newLease();
          const record = await super.lock(key, lease);
          if (record && record !== 'busy') {
            await super.unlock(key, lease);
            count += await super.deleteByOwner(owner, { only: key, ...options });
          }
        }
        return count;
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere, owners > invariant 2, no resurrection: deletes locked records too, whose holders save no more',
    ],
  },
  {
    breaks: 'a record is out of reach of its owner for a moment',
    Backend: class extends RamBackend {
      private isSweeping = false;
      override async cleanUp(): Promise<number> {
        this.isSweeping = true;
        return super.cleanUp();
      }
      override async findByOwner(owner: string): Promise<StoredRecord[]> {
        return this.isSweeping ? [] : super.findByOwner(owner);
      }
    },
    refusedBy: [
      'invariant 7, atomic against other clients > a sweep beside creates, saves and touches takes nothing that lives',
      'invariant 7, atomic against other clients > a sweep beside a create loses no record to its owner',
    ],
  },
  {
    breaks: 'a sweep removes all',
    Backend: class extends RamBackend {
      override async cleanUp(): Promise<number> {
        const all = await super.list(undefined, Infinity);
        await Promise.all(all.map(({ key }) => super.delete(key)));
        return all.length;
      }
    },
    refusedBy: [
      'invariant 7, atomic against other clients > a sweep beside a create loses no record to its owner',
    ],
  },
  {
    breaks: 'a sweep frees locks',
    Backend: class extends LooseBackend {
      override async cleanUp(): Promise<number> {
        for (const { key } of await super.list(undefined, Infinity)) {
          await super.unlock(key, this.holder(key, newLease()));
        }
        return super.cleanUp();
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > an expired record is an absent one > cleanUp removes it, and only it',
    ],
  },
  {
    breaks: 'a sweep counts wrong',
    Backend: class extends RamBackend {
      override async cleanUp(): Promise<number> {
        return (await super.cleanUp()) + 1;
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > an expired record is an absent one > cleanUp removes it, and only it',
    ],
  },
  {
    breaks: 'a count of all that ever was',
    Backend: class extends RamBackend {
      private made = 0;
      override async create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
        const isCreated = await super.create(key, write, lease);
        this.made += isCreated ? 1 : 0;
        return isCreated;
      }
      override async count(): Promise<number> {
        return this.made;
      }
    },
    refusedBy: ['invariant 7, one behaviour everywhere > count counts the records, whoever made them'],
  },
  {
    breaks: 'a list without pages',
    Backend: class extends RamBackend {
      override list(): Promise<StoredRecord[]> {
        return super.list(undefined, Infinity);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere, records > lists all records once, page by page, and no expired one',
    ],
  },
  {
    breaks: 'a list with one that is not there',
    Backend: class extends RamBackend {
      override async list(after: string | undefined, limit: number): Promise<StoredRecord[]> {
        const found = await super.list(after, limit);
        const record = { data: '', createdAt: 0, expiresAt: 0, lastUsedAt: 0 };
        return found.length > 0 ? found : [{ key: 'x', record }];
      }
    },
    refusedBy: ['invariant 7, one behaviour everywhere, records > lists none where there is none'],
  },
];
