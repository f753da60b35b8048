import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Lease, SessionRecord, SessionWrite } from 'nest-sessions';
import { RamBackend } from '../../../lib/storage/ram/ram.backend.js';
import { newLease } from '../fixtures.js';
import type { Mutant } from './mutant.js';

type Unlock = { unlock: boolean };

/** Records, and how they are made and removed: storages that break the contract in one way each, and tests that refuse them. */
export const records: Mutant[] = [
  {
    breaks: 'a create replaces',
    Backend: class extends RamBackend {
      override async create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
        await super.delete(key);
        return super.create(key, write, lease);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > create and read > does not create over a record, locked or not',
      'invariant 7, one behaviour everywhere > create and read > leaves no lock behind when it does not create',
      'invariant 7, one behaviour everywhere, records > no other step moves lastUsedAt',
    ],
  },
  {
    breaks: 'a create in two steps: looked for, made later',
    Backend: class extends RamBackend {
      override async create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
        const isThere = (await super.read(key)) !== undefined;
        await nextTurn();
        if (isThere) {
          return false;
        }
        await super.delete(key);
        return super.create(key, write, lease);
      }
    },
    refusedBy: [
      'invariant 7, atomic against other clients > of 10 create() at once over nothing, one succeeds, in each of 25 rounds',
      'invariant 7, atomic against other clients > of 10 create() at once over an expired record, one succeeds, in each of 25 rounds',
    ],
  },
  {
    breaks: 'a create takes the lock of what is there',
    Backend: class extends RamBackend {
      override async create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
        const isCreated = await super.create(key, write, lease);
        if (!isCreated && lease) {
          await super.lock(key, lease);
        }
        return isCreated;
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > create and read > leaves no lock behind when it does not create',
    ],
  },
  {
    breaks: 'a create takes no lock',
    Backend: class extends RamBackend {
      override create(key: string, write: SessionWrite): Promise<boolean> {
        return super.create(key, write);
      }
    },
    refusedBy: ['invariant 7, one behaviour everywhere, records > save moves lastUsedAt'],
  },
  {
    breaks: 'a create gives its own createdAt',
    Backend: class extends RamBackend {
      override create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
        return super.create(key, { ...write, createdAt: undefined }, lease);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > create and read > keeps a given createdAt, and leaves out owner and timeout where there are none',
    ],
  },
  {
    breaks: 'a create ignores the time to live',
    Backend: class extends RamBackend {
      override create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
        return super.create(key, { ...write, ttl: write.ttl < 1000 ? write.ttl : 2 * write.ttl }, lease);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > create and read > stores what was written, with times by the storage',
    ],
  },
  {
    breaks: 'a key is used once',
    Backend: class extends RamBackend {
      private readonly used = new Set<string>();
      override async create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
        if (this.used.has(key)) {
          return false;
        }
        this.used.add(key);
        return super.create(key, write, lease);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > an expired record is an absent one > for its lease: it has no say in what is created under the key',
    ],
  },
  {
    breaks: 'all keys are one',
    Backend: class extends RamBackend {
      override read(): Promise<SessionRecord | undefined> {
        return super.read('');
      }
      override create(_: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
        return super.create('', write, lease);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > create and read > finds nothing under an unknown key',
    ],
  },
  {
    breaks: 'a delete removes nothing',
    Backend: class extends RamBackend {
      override async delete(key: string, lease?: Lease): Promise<boolean> {
        return lease ? super.delete(key, lease) : (await super.read(key)) !== undefined;
      }
    },
    refusedBy: ['invariant 7, one behaviour everywhere > delete > says whether there was a record'],
  },
  {
    breaks: 'a delete says that there was something',
    Backend: class extends RamBackend {
      override async delete(key: string, lease?: Lease): Promise<boolean> {
        await super.delete(key, lease);
        return true;
      }
    },
    refusedBy: ['invariant 7, one behaviour everywhere > delete > says whether there was a record'],
  },
  {
    breaks: 'a delete waits for the lock',
    Backend: class extends RamBackend {
      override async delete(key: string, lease = newLease()): Promise<boolean> {
        await super.lock(key, lease);
        return super.delete(key, lease);
      }
    },
    refusedBy: ['invariant 7, one behaviour everywhere > create and read > creates again after a delete'],
  },
  {
    breaks: 'a delete in two steps: looked for, removed later',
    Backend: class extends RamBackend {
      override async delete(key: string, lease?: Lease): Promise<boolean> {
        const isThere = (await super.read(key)) !== undefined;
        await nextTurn();
        await super.delete(key, lease);
        return isThere;
      }
    },
    refusedBy: [
      'invariant 7, atomic against other clients > of 10 delete() at once, one removed the record, in each of 25 rounds',
    ],
  },
  {
    breaks: 'a delete does not ask for the lease',
    Backend: class extends RamBackend {
      override delete(key: string): Promise<boolean> {
        return super.delete(key);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere, locks > invariant 9, crash-safe locks > delete with a lease removes the record while the lease holds its lock, and only then',
    ],
  },
  {
    breaks: 'an expired record can be locked',
    Backend: class extends RamBackend {
      private readonly known = new Map<string, SessionRecord>();
      override async lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
        const found = (await super.lock(key, lease)) ?? this.known.get(key);
        if (found && found !== 'busy') {
          this.known.set(key, found);
        }
        return found;
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > an expired record is an absent one > for its lock too: the holder has lost it, others find no record',
    ],
  },
  {
    breaks: 'an expired record is in the way',
    Backend: class extends RamBackend {
      private readonly known = new Set<string>();
      override async create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
        if (this.known.has(key)) {
          return false;
        }
        this.known.add(key);
        return super.create(key, write, lease);
      }
      override delete(key: string, lease?: Lease): Promise<boolean> {
        this.known.delete(key);
        return super.delete(key, lease);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > an expired record is an absent one > for create: over an unlocked one it makes a new record, with its lock',
      'invariant 7, one behaviour everywhere > an expired record is an absent one > for create: over a locked one it makes a new record, with its lock',
    ],
  },
  {
    breaks: 'persistent is lost',
    Backend: class extends RamBackend {
      override save(key: string, write: SessionWrite, lease: Lease, options: Unlock): Promise<boolean> {
        return super.save(key, { ...write, persistent: undefined }, lease, options);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere, records > keeps whether its cookie is persistent: true',
      'invariant 7, one behaviour everywhere, records > keeps whether its cookie is persistent: false',
    ],
  },
  {
    breaks: 'persistent is true by default',
    Backend: class extends RamBackend {
      override save(key: string, write: SessionWrite, lease: Lease, options: Unlock): Promise<boolean> {
        return super.save(key, { ...write, persistent: write.persistent ?? true }, lease, options);
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere, records > keeps whether its cookie is persistent: undefined',
    ],
  },
  {
    breaks: 'lastUsedAt is createdAt',
    Backend: class extends RamBackend {
      override async read(key: string): Promise<SessionRecord | undefined> {
        const record = await super.read(key);
        return record && { ...record, lastUsedAt: record.createdAt };
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere, records > save moves lastUsedAt',
      'invariant 7, one behaviour everywhere, records > save and unlock moves lastUsedAt',
    ],
  },
  {
    breaks: 'lastUsedAt is now',
    Backend: class extends RamBackend {
      override async read(key: string): Promise<SessionRecord | undefined> {
        const record = await super.read(key);
        return record && { ...record, lastUsedAt: Date.now() };
      }
    },
    refusedBy: ['invariant 7, one behaviour everywhere, records > no other step moves lastUsedAt'],
  },
  {
    breaks: 'texts end at a zero',
    Backend: class extends RamBackend {
      override create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
        return super.create(key, { ...write, data: write.data.split('\0')[0]! }, lease);
      }
    },
    refusedBy: ['invariant 7, one behaviour everywhere > invariant 10: keeps any text as data'],
  },
  {
    breaks: 'no owner is an empty one',
    Backend: class extends RamBackend {
      override async read(key: string): Promise<SessionRecord | undefined> {
        const record = await super.read(key);
        return record && { ...record, owner: record.owner ?? '' };
      }
    },
    refusedBy: [
      'invariant 7, one behaviour everywhere > create and read > keeps a given createdAt, and leaves out owner and timeout where there are none',
    ],
  },
];
