import { describe, expect, it } from 'vitest';
import type { Admission, OwnerLimit } from 'nest-sessions';
import { LockedAdmission } from '../../lib/storage/locked-admission.js';
import { RamBackend } from '../../lib/storage/ram/ram.backend.js';
import { newKey, newLease, writeOf } from '../contract/fixtures.js';

const owned = (createdAt?: number) => ({ ...writeOf('1', { createdAt }), owner: 'ann' });

/** An admission that stands still behind its write until its lock is another's, who lets one more in. */
async function admitLate(limit: OwnerLimit, makeAdmission: (backend: RamBackend) => Promise<Admission>) {
  const backend = new RamBackend(100);
  const first = newKey();
  await backend.create(first, owned(1));
  const others: string[] = [];
  const lock = {
    claim: async () => true,
    renew: async () => {
      if (others.length > 0) {
        return true;
      }
      others.push(newKey());
      return !(await backend.create(others[0]!, owned(2)));
    },
    remove: () => undefined,
  };
  const admission = await makeAdmission(backend);
  const outcome = await new LockedAdmission(backend, () => lock).admit(admission, limit);
  const keys = (await backend.findByOwner('ann')).map(({ key }) => key);
  return { outcome, keys, first, other: others[0]!, own: admission.key };
}

const creation = async (): Promise<Admission> => ({ key: newKey(), write: owned(3), lease: undefined });
const saving = async (backend: RamBackend): Promise<Admission> => {
  const [key, lease] = [newKey(), newLease()];
  await backend.create(key, writeOf('0', { createdAt: 3 }), lease);
  return { key, write: owned(), lease, save: { unlock: false } };
};

describe.each([
  ['create', creation],
  ['save', saving],
])('no owner has more sessions than the limit, where the lock lapsed behind the write: %s', (_, make) => {
  it('the oldest ends', async () => {
    const { outcome, keys, other, own } = await admitLate({ max: 2, refuses: false }, make);
    expect(outcome).toBe(true);
    expect(keys).toEqual([other, own]);
  });

  it('or the one that came late is refused, and goes', async () => {
    const { outcome, keys, first, other } = await admitLate({ max: 2, refuses: true }, make);
    expect(outcome).toBe('refused');
    expect(keys).toEqual([first, other]);
  });
});
