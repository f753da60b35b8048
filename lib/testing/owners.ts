import assert from 'node:assert/strict';
import { includes, same } from './assertions.js';
import { newKey, newLease, writeOf } from './fixtures.js';
import type { Suite } from './suite.js';

/** What `SessionBackend` promises of owners, where a storage knows them. */
export function describeOwners({ name, describe, needing }: Suite): void {
  const itByOwner = needing('findByOwner', 'deleteByOwner');

  describe(`invariant 7, one behaviour everywhere, owners: ${name}`, () => {
    itByOwner('finds the records of an owner, oldest first', async ({ one, two }) => {
      const [a, b, c] = [newKey(), newKey(), newKey()];
      await one.create(a, writeOf('a', { owner: 'ann', createdAt: 3_000 }));
      await two.create(b, writeOf('b', { owner: 'ann', createdAt: 1_000 }));
      await two.create(c, writeOf('c', { owner: 'ann', createdAt: 2_000 }));
      await one.create(newKey(), writeOf('d', { owner: 'bob' }));
      await one.create(newKey(), writeOf('e'));
      const found = await one.findByOwner('ann');
      same(
        found.map(each => each.key),
        [b, c, a],
      );
      same(found[0]!.record, await one.read(b));
      same(await one.findByOwner('nobody'), []);
    });

    itByOwner('follows a change of owner', async ({ one, two, key }) => {
      const keysOf = async (owner: string) => (await two.findByOwner(owner)).map(found => found.key);
      const lease = newLease();
      await one.create(key, writeOf('1'), lease);
      await one.save(key, writeOf('1', { owner: 'ann' }), lease, { unlock: false });
      same(await keysOf('ann'), [key]);
      await one.save(key, writeOf('1', { owner: 'bob' }), lease, { unlock: false });
      same([await keysOf('ann'), await keysOf('bob')], [[], [key]]);
      await one.save(key, writeOf('1'), lease, { unlock: false });
      same([await keysOf('ann'), await keysOf('bob')], [[], []]);
    });

    itByOwner('deletes the records of an owner, all, all but one or one', async ({ one }) => {
      const [a, b, c, other] = [newKey(), newKey(), newKey(), newKey()];
      const leftOf = async () => (await one.findByOwner('ann')).map(found => found.key).sort();
      for (const each of [a, b, c]) {
        await one.create(each, writeOf('1', { owner: 'ann' }));
      }
      await one.create(other, writeOf('1', { owner: 'bob' }));
      assert.equal(await one.deleteByOwner('ann', { only: other }), 0);
      assert.equal(await one.deleteByOwner('ann', { only: newKey() }), 0);
      assert.equal(await one.deleteByOwner('ann', { only: a, except: a }), 0);
      assert.equal(await one.deleteByOwner('ann', { only: a }), 1);
      same(await leftOf(), [b, c].sort());
      assert.equal(await one.deleteByOwner('ann', { except: b }), 1);
      same(await leftOf(), [b]);
      assert.equal(await one.deleteByOwner('ann'), 1);
      assert.equal(await one.deleteByOwner('ann'), 0);
      same(await leftOf(), []);
      includes(await one.read(other), { owner: 'bob' });
    });

    itByOwner(
      'invariant 2, no resurrection: deletes locked records too, whose holders save no more',
      async ({ one, two, key }) => {
        const lease = newLease();
        await one.create(key, writeOf('1', { owner: 'ann' }), lease);
        assert.equal(await two.deleteByOwner('ann'), 1);
        assert.equal(await one.save(key, writeOf('2', { owner: 'ann' }), lease, { unlock: true }), false);
        assert.equal(await one.read(key), undefined);
        same(await two.findByOwner('ann'), []);
      },
    );

    itByOwner('takes any text for an owner, and takes no two for the same', async ({ one }) => {
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
        '\ud800',
        '\udc00',
        '\ufffd',
        '\\ud800',
        '"',
        '\\',
      ];
      owners.push("'; DROP TABLE sessions; --", 'é', 'e\u0301', 'ﬁ', 'fi', 'x'.repeat(300), 'x'.repeat(301));
      const keys = new Map(owners.map(owner => [owner, newKey()]));
      for (const [owner, each] of keys) {
        await one.create(each, writeOf(owner, { owner }));
      }
      for (const [owner, each] of keys) {
        const found = await one.findByOwner(owner);
        same(
          found.map(record => [record.key, record.record.owner]),
          [[each, owner]],
        );
      }
      for (const owner of owners) {
        assert.equal(await one.deleteByOwner(owner), 1);
      }
    });
  });
}
