import { describe, expect, it } from 'vitest';
import type { SessionBackend } from 'nest-sessions';
import type { BackendUnderTest } from './backends.js';
import { newKey, newLease, useStorage, withOwners, writeOf } from './fixtures.js';

/** What `SessionBackend` promises of owners, where a storage knows them. */
export function describeOwners({ name, open }: BackendUnderTest): void {
  describe(`invariant 7, one behaviour everywhere, owners: ${name}`, () => {
    /** Two clients of the storage; what one does, the other sees. */
    let one: SessionBackend;
    let two: SessionBackend;
    let key: string;
    useStorage(open, clients => {
      [one, two] = clients;
      key = newKey();
    });

    it('finds the records of an owner, oldest first', async context => {
      const backend = withOwners(one, context);
      const [a, b, c] = [newKey(), newKey(), newKey()];
      await one.create(a, writeOf('a', { owner: 'ann', createdAt: 3_000 }));
      await two.create(b, writeOf('b', { owner: 'ann', createdAt: 1_000 }));
      await two.create(c, writeOf('c', { owner: 'ann', createdAt: 2_000 }));
      await one.create(newKey(), writeOf('d', { owner: 'bob' }));
      await one.create(newKey(), writeOf('e'));
      const found = await backend.findByOwner('ann');
      expect(found.map(each => each.key)).toEqual([b, c, a]);
      expect(found[0]!.record).toEqual(await one.read(b));
      expect(await backend.findByOwner('nobody')).toEqual([]);
    });

    it('follows a change of owner', async context => {
      const backend = withOwners(two, context);
      const keysOf = async (owner: string) => (await backend.findByOwner(owner)).map(found => found.key);
      const lease = newLease();
      await one.create(key, writeOf('1'), lease);
      await one.save(key, writeOf('1', { owner: 'ann' }), lease, { unlock: false });
      expect(await keysOf('ann')).toEqual([key]);
      await one.save(key, writeOf('1', { owner: 'bob' }), lease, { unlock: false });
      expect([await keysOf('ann'), await keysOf('bob')]).toEqual([[], [key]]);
      await one.save(key, writeOf('1'), lease, { unlock: false });
      expect([await keysOf('ann'), await keysOf('bob')]).toEqual([[], []]);
    });

    it('deletes the records of an owner, all, all but one or one', async context => {
      const backend = withOwners(one, context);
      const [a, b, c, other] = [newKey(), newKey(), newKey(), newKey()];
      const leftOf = async () => (await backend.findByOwner('ann')).map(found => found.key).sort();
      for (const each of [a, b, c]) {
        await one.create(each, writeOf('1', { owner: 'ann' }));
      }
      await one.create(other, writeOf('1', { owner: 'bob' }));
      expect(await backend.deleteByOwner('ann', { only: other })).toBe(0);
      expect(await backend.deleteByOwner('ann', { only: newKey() })).toBe(0);
      expect(await backend.deleteByOwner('ann', { only: a, except: a })).toBe(0);
      expect(await backend.deleteByOwner('ann', { only: a })).toBe(1);
      expect(await leftOf()).toEqual([b, c].sort());
      expect(await backend.deleteByOwner('ann', { except: b })).toBe(1);
      expect(await leftOf()).toEqual([b]);
      expect(await backend.deleteByOwner('ann')).toBe(1);
      expect(await backend.deleteByOwner('ann')).toBe(0);
      expect(await leftOf()).toEqual([]);
      expect(await one.read(other)).toMatchObject({ owner: 'bob' });
    });

    it('invariant 2, no resurrection: deletes locked records too, whose holders save no more', async context => {
      const backend = withOwners(two, context);
      const lease = newLease();
      await one.create(key, writeOf('1', { owner: 'ann' }), lease);
      expect(await backend.deleteByOwner('ann')).toBe(1);
      expect(await one.save(key, writeOf('2', { owner: 'ann' }), lease, { unlock: true })).toBe(false);
      expect(await one.read(key)).toBeUndefined();
      expect(await backend.findByOwner('ann')).toEqual([]);
    });

    it('takes any text for an owner, and takes no two for the same', async context => {
      const backend = withOwners(one, context);
      const owners = [
        '',
        ' ',
        '/',
        '..',
        '../..',
        '.',
        '\u0000',
        'a\u0000b',
        'a',
        'A',
        '😀',
        '😁',
        '%00',
        '*',
      ];
      owners.push("'; DROP TABLE sessions; --", 'é', 'e\u0301', 'ﬁ', 'fi', 'x'.repeat(300), 'x'.repeat(301));
      const keys = new Map(owners.map(owner => [owner, newKey()]));
      for (const [owner, each] of keys) {
        await one.create(each, writeOf(owner, { owner }));
      }
      for (const [owner, each] of keys) {
        const found = await backend.findByOwner(owner);
        expect(found.map(record => [record.key, record.record.owner])).toEqual([[each, owner]]);
      }
      for (const owner of owners) {
        expect(await backend.deleteByOwner(owner)).toBe(1);
      }
    });
  });
}
