import assert from 'node:assert/strict';
import { above, below, includes, same } from './assertions.js';
import {
  lockOnceFreed,
  dataOf,
  expire,
  LONG,
  newKey,
  newLease,
  TOLERANCE,
  until,
  writeOf,
} from './fixtures.js';
import type { Suite } from './suite.js';

/** The promises of `SessionBackend`, method by method. */
export function describeMethods({ name, describe, it, needing }: Suite): void {
  const itCounts = needing('count');

  describe(`invariant 7, one behaviour everywhere: ${name}`, () => {
    describe('create and read', () => {
      it('stores what was written, with times by the storage', async ({ one, two, key }) => {
        const now = Date.now();
        assert.equal(await one.create(key, writeOf('{"a":1}', { owner: 'ann', timeout: 0.5 })), true);
        for (const client of [one, two]) {
          const record = await client.read(key);
          includes(record, { data: '{"a":1}', owner: 'ann', timeout: 0.5 });
          below(Math.abs(record!.createdAt - now), TOLERANCE);
          below(Math.abs(record!.expiresAt - now - LONG), TOLERANCE);
        }
      });

      it('keeps a given createdAt, and leaves out owner and timeout where there are none', async ({
        one,
        two,
        key,
      }) => {
        await one.create(key, writeOf('{}', { createdAt: 1_600_000_000_123 }));
        const record = await two.read(key);
        assert.equal(record?.createdAt, 1_600_000_000_123);
        assert.equal(record?.owner, undefined);
        assert.equal(record?.timeout, undefined);
      });

      it('finds nothing under an unknown key', async ({ one, key }) => {
        await one.create(newKey(), writeOf('{}'));
        assert.equal(await one.read(key), undefined);
      });

      it('does not create over a record, locked or not', async ({ one, two, key }) => {
        await one.create(key, writeOf('first'));
        assert.equal(await two.create(key, writeOf('second')), false);
        assert.equal(await two.create(key, writeOf('second'), newLease()), false);
        await one.lock(key, newLease());
        assert.equal(await two.create(key, writeOf('second')), false);
        assert.equal(await two.create(key, writeOf('second'), newLease()), false);
        assert.equal(await dataOf(two, key), 'first');
      });

      it('leaves no lock behind when it does not create', async ({ one, two, key }) => {
        await one.create(key, writeOf('first'));
        await two.create(key, writeOf('second'), newLease());
        includes(await one.lock(key, newLease()), { data: 'first' });
      });

      it('creates with the lock taken, if a lease is given', async ({ one, two, key }) => {
        const lease = newLease();
        await one.create(key, writeOf('1'), lease);
        assert.equal(await two.lock(key, newLease()), 'busy');
        assert.equal(await one.save(key, writeOf('2'), lease, { unlock: true }), true);
        includes(await lockOnceFreed(two, key), { data: '2' });
      });

      it('creates again after a delete', async ({ one, two, key }) => {
        await one.create(key, writeOf('1'), newLease());
        await two.delete(key);
        assert.equal(await one.create(key, writeOf('2')), true);
        includes(await two.lock(key, newLease()), { data: '2' });
      });
    });

    describe('save and touch', () => {
      it('replaces all but createdAt', async ({ one, two, key }) => {
        const createdAt = 1_600_000_000_123;
        await one.create(key, writeOf('1', { owner: 'ann', timeout: 5, createdAt }));
        const lease = newLease();
        await one.lock(key, lease);
        const second = writeOf('2', { owner: 'bob', timeout: 9, createdAt, ttl: 2 * LONG });
        assert.equal(await one.save(key, second, lease, { unlock: false }), true);
        const record = await two.read(key);
        includes(record, { data: '2', owner: 'bob', timeout: 9, createdAt });
        above(record!.expiresAt, Date.now() + 2 * LONG - TOLERANCE);
        await one.save(key, writeOf('3', { createdAt }), lease, { unlock: false });
        const last = await two.read(key);
        includes(last, { data: '3', createdAt });
        assert.equal(last!.owner, undefined);
        assert.equal(last!.timeout, undefined);
      });

      it('keeps the lock or frees it, as told', async ({ one, two, key }) => {
        await one.create(key, writeOf('1'));
        const lease = newLease();
        await one.lock(key, lease);
        await one.save(key, writeOf('2'), lease, { unlock: false });
        assert.equal(await two.lock(key, newLease()), 'busy');
        await one.save(key, writeOf('3'), lease, { unlock: true });
        assert.equal(await one.save(key, writeOf('4'), lease, { unlock: true }), false);
        includes(await lockOnceFreed(two, key), { data: '3' });
      });

      it('saves nothing without the lock', async ({ one, key }) => {
        await one.create(key, writeOf('1'));
        assert.equal(await one.save(key, writeOf('2'), newLease(), { unlock: true }), false);
        assert.equal(await dataOf(one, key), '1');
      });

      it('invariant 2, no resurrection: save inserts nothing', async ({ one, two, key }) => {
        assert.equal(await one.save(key, writeOf('1'), newLease(), { unlock: true }), false);
        assert.equal(await two.read(key), undefined);
      });

      it('touches with or without a lock, which stays as it is', async ({ one, two, key }) => {
        await one.create(key, writeOf('1', { owner: 'ann', timeout: 5, createdAt: 1_600_000_000_123 }));
        const lease = newLease();
        await one.lock(key, lease);
        assert.equal(await two.touch(key, 2 * LONG), true);
        const record = await one.read(key);
        includes(record, { data: '1', owner: 'ann', timeout: 5, createdAt: 1_600_000_000_123 });
        above(record!.expiresAt, Date.now() + 2 * LONG - TOLERANCE);
        assert.equal(await two.lock(key, newLease()), 'busy');
        await one.unlock(key, lease);
        assert.equal(await two.touch(key, LONG), true);
        below((await one.read(key))!.expiresAt, Date.now() + LONG + TOLERANCE);
      });

      it('touches nothing that is not there', async ({ one, two, key }) => {
        assert.equal(await one.touch(key, LONG), false);
        assert.equal(await two.read(key), undefined);
      });
    });

    describe('delete', () => {
      it('says whether there was a record', async ({ one, two, key }) => {
        await one.create(key, writeOf('1'));
        assert.equal(await two.delete(key), true);
        assert.equal(await one.delete(key), false);
        assert.equal(await one.read(key), undefined);
      });

      it('invariant 2, no resurrection: removes a locked record at once, whose holder saves no more', async ({
        one,
        two,
        key,
      }) => {
        await one.create(key, writeOf('1', { owner: 'ann' }));
        const lease = newLease();
        await one.lock(key, lease);
        assert.equal(await two.delete(key), true);
        assert.equal(await one.renew(key, lease), false);
        assert.equal(await one.save(key, writeOf('2', { owner: 'ann' }), lease, { unlock: false }), false);
        assert.equal(await one.save(key, writeOf('2', { owner: 'ann' }), lease, { unlock: true }), false);
        assert.equal(await one.touch(key, LONG), false);
        await one.unlock(key, lease, LONG);
        assert.equal(await one.read(key), undefined);
        assert.equal(await two.lock(key, newLease()), undefined);
        assert.equal((await two.count?.()) ?? 0, 0);
        same((await two.findByOwner?.('ann')) ?? [], []);
      });

      it('fences the holder of the removed record from one that is created later', async ({
        one,
        two,
        key,
      }) => {
        await one.create(key, writeOf('1'));
        const lease = newLease();
        await one.lock(key, lease);
        await two.delete(key);
        await two.create(key, writeOf('new'));
        assert.equal(await one.save(key, writeOf('2'), lease, { unlock: true }), false);
        assert.equal(await one.renew(key, lease), false);
        includes(await two.lock(key, newLease()), { data: 'new' });
      });
    });

    describe('an expired record is an absent one', () => {
      it('for every method, with nobody sweeping', async ({ one, two, key }) => {
        await one.create(key, writeOf('1', { owner: 'ann', ttl: 30 }));
        await until(async () => !(await two.read(key)));
        assert.equal(await one.read(key), undefined);
        assert.equal(await one.lock(key, newLease()), undefined);
        assert.equal(await one.renew(key, newLease()), false);
        assert.equal(await one.touch(key, LONG), false);
        assert.equal(await one.save(key, writeOf('2'), newLease(), { unlock: true }), false);
        assert.equal((await one.count?.()) ?? 0, 0);
        same((await one.findByOwner?.('ann')) ?? [], []);
        assert.equal((await one.deleteByOwner?.('ann')) ?? 0, 0);
        assert.equal(await one.delete(key), false);
      });

      it('for its lock too: the holder has lost it, others find no record', async ({ one, two, key }) => {
        await one.create(key, writeOf('1'));
        const lease = newLease();
        await one.lock(key, lease);
        await expire(one, key);
        assert.equal(await two.lock(key, newLease()), undefined);
        assert.equal(await one.renew(key, lease), false);
        assert.equal(await one.save(key, writeOf('2'), lease, { unlock: true }), false);
        await one.unlock(key, lease, LONG);
        assert.equal(await two.read(key), undefined);
      });

      it('for its lease: it has no say in what is created under the key', async ({ one, key }) => {
        const old = newLease();
        await one.create(key, writeOf('1'), old);
        await expire(one, key);
        await one.create(key, writeOf('new'));
        const { expiresAt } = (await one.read(key))!;
        await one.unlock(key, old, 10 * LONG);
        below((await one.read(key))!.expiresAt, expiresAt + LONG);
      });

      for (const locked of [false, true]) {
        it(`for create: over ${locked ? 'a locked' : 'an unlocked'} one it makes a new record, with its lock`, async ({
          one,
          two,
          key,
        }) => {
          await one.create(key, writeOf('1', { owner: 'ann' }));
          const old = newLease();
          if (locked) {
            await one.lock(key, old);
          }
          await expire(one, key);
          const lease = newLease();
          assert.equal(await two.create(key, writeOf('new'), lease), true);
          assert.equal(await one.lock(key, newLease()), 'busy');
          assert.equal(await one.save(key, writeOf('stale'), old, { unlock: true }), false);
          assert.equal(await two.save(key, writeOf('newer'), lease, { unlock: true }), true);
          assert.equal(await dataOf(one, key), 'newer');
          same((await one.findByOwner?.('ann')) ?? [], []);
        });
      }

      it('cleanUp removes it, and only it', async ({ one, two, key, sweepsItself }) => {
        const expired = [newKey(), newKey(), newKey()];
        for (const each of expired) {
          await one.create(each, writeOf('1', { owner: 'ann' }));
        }
        await one.lock(expired[0]!, newLease());
        await one.create(key, writeOf('kept', { owner: 'ann' }));
        const lease = newLease();
        await one.lock(key, lease);
        for (const each of expired) {
          await expire(one, each);
        }
        assert.equal(await two.cleanUp(), sweepsItself ? 0 : 3);
        assert.equal(await one.cleanUp(), 0);
        assert.equal(await dataOf(one, key), 'kept');
        assert.equal(await two.lock(key, newLease()), 'busy');
        assert.equal(await one.save(key, writeOf('2', { owner: 'ann' }), lease, { unlock: true }), true);
        same((await two.findByOwner?.('ann'))?.map(found => found.key) ?? [key], [key]);
      });
    });

    itCounts('count counts the records, whoever made them', async ({ one, two, key }) => {
      assert.equal(await one.count(), 0);
      const keys = [newKey(), newKey(), newKey()];
      for (const each of keys) {
        await one.create(each, writeOf('1'));
      }
      await two.create(key, writeOf('1'), newLease());
      assert.equal(await one.count(), 4);
      await two.delete(keys[0]!);
      await expire(one, keys[1]!);
      assert.equal(await two.count(), 2);
    });

    it('invariant 10: keeps any text as data', async ({ one, two, key }) => {
      const texts = ['', ' ', '\n', 'a\r\nb', '\u0000', '\u0000{}', '{"a":"\\u0000"}', '😀', '\u2028\uFEFF'];
      texts.push('"\'\\%', '\uFFFD', 'x'.repeat(1024 * 1024), '😀'.repeat(100_000));
      await one.create(key, writeOf('first'));
      for (const text of texts) {
        const lease = newLease();
        const other = newKey();
        assert.equal(await one.create(other, writeOf(text)), true);
        assert.ok((await two.read(other))?.data === text);
        await one.lock(key, lease);
        assert.equal(await one.save(key, writeOf(text), lease, { unlock: true }), true);
        assert.ok((await dataOf(two, key)) === text);
      }
    });
  });
}
