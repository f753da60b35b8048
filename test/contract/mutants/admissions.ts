import { setImmediate } from 'node:timers/promises';
import type { Admission, OwnerLimit } from 'nest-sessions';
import { RamBackend } from '../../../lib/storage/ram/ram.backend.js';
import { newKey } from '../fixtures.js';
import type { Mutant } from './mutant.js';

const LIMIT = 'no owner has more sessions than the limit > ';

/** Limits of owners: storages that break the contract in one way each, and tests that refuse them. */
export const admissions: Mutant[] = [
  {
    breaks: 'no limit',
    Backend: class extends RamBackend {
      override async admit({ key, write, lease, save }: Admission): Promise<boolean | 'refused'> {
        return save ? this.save(key, write, lease, save) : this.create(key, write, lease);
      }
    },
    refusedBy: [
      `${LIMIT}ends the oldest, whoever holds its lock, and nobody else`,
      `${LIMIT}refuses one more, and leaves all as it is`,
      `${LIMIT}of 50 at once from two clients, 3 are there at the end, in each of 5 rounds`,
      `${LIMIT}of 50 at once from two clients, 3 are let in and 47 refused, in each of 5 rounds`,
    ],
  },
  {
    breaks: 'one that is let in is not locked',
    Backend: class extends RamBackend {
      override admit({ key, write }: Admission, limit: OwnerLimit): Promise<boolean | 'refused'> {
        return super.admit({ key, write, lease: undefined }, limit);
      }
    },
    refusedBy: [`${LIMIT}below the limit, admit() is create() or save()`],
  },
  {
    breaks: 'one ends at most',
    Backend: class extends RamBackend {
      override async admit(admission: Admission, limit: OwnerLimit): Promise<boolean | 'refused'> {
        const { length } = await this.findByOwner(admission.write.owner);
        return super.admit(admission, { ...limit, max: Math.max(limit.max, length) });
      }
    },
    refusedBy: [`${LIMIT}ends as many as a lower limit asks for, never the one that comes`],
  },
  {
    breaks: 'the session itself counts',
    Backend: class extends RamBackend {
      override async admit(admission: Admission, limit: OwnerLimit): Promise<boolean | 'refused'> {
        const owned = await this.findByOwner(admission.write.owner);
        const isFull = owned.length >= limit.max && limit.refuses;
        return isFull ? 'refused' : super.admit(admission, limit);
      }
    },
    refusedBy: [`${LIMIT}counts neither what has expired, nor the session itself`],
  },
  {
    breaks: 'others end before it is known whether one more comes',
    Backend: class extends RamBackend {
      override async admit(admission: Admission, limit: OwnerLimit): Promise<boolean | 'refused'> {
        if (!limit.refuses && admission.save) {
          const key = newKey();
          await super.admit({ key, write: admission.write, lease: undefined }, limit);
          await this.delete(key);
        }
        return super.admit(admission, limit);
      }
    },
    refusedBy: [`${LIMIT}for a save without the lock, or of a session that is gone, nobody ends`],
  },
  {
    breaks: 'a moment between the look and the write',
    Backend: class extends RamBackend {
      override async admit(admission: Admission, limit: OwnerLimit): Promise<boolean | 'refused'> {
        const { length } = await this.findByOwner(admission.write.owner);
        await setImmediate();
        const isFull = length >= limit.max && limit.refuses;
        return isFull ? 'refused' : super.admit(admission, { ...limit, max: 1_000 });
      }
    },
    refusedBy: [`${LIMIT}of 50 at once from two clients, 3 are let in and 47 refused, in each of 5 rounds`],
  },
  {
    breaks: 'zero characters are lost',
    Backend: class extends RamBackend {
      override admit(admission: Admission, limit: OwnerLimit): Promise<boolean | 'refused'> {
        const { write } = admission;
        write.owner = write.owner.replaceAll('\0', '');
        return super.admit(admission, limit);
      }
    },
    refusedBy: [`${LIMIT}takes data that is no JSON, and any text for an owner`],
  },
];
