import { describe, expect, it } from 'vitest';
import type { SessionBackend } from 'nest-sessions';
import type { BackendUnderTest } from './backends.js';
import { expire, LONG, newKey, newLease, TOLERANCE, until, useStorage, writeOf } from './fixtures.js';

/** The promises of `SessionBackend`, method by method. */
export function describeContract({ name, open, sweepsItself }: BackendUnderTest): void {
  describe(`invariant 7, one behaviour everywhere: ${name}`, () => {
    /** Two clients of the storage; what one does, the other sees. */
    let one: SessionBackend;
    let two: SessionBackend;
    let key: string;
    useStorage(open, clients => {
      [one, two] = clients;
      key = newKey();
    });

    const dataOf = async (backend: SessionBackend) => (await backend.read(key))?.data;

    describe('create and read', () => {
      it('stores what was written, with times by the storage', async () => {
        const now = Date.now();
        expect(await one.create(key, writeOf('{"a":1}', { owner: 'ann', timeout: 0.5 }))).toBe(true);
        for (const client of [one, two]) {
          const record = await client.read(key);
          expect(record).toMatchObject({ data: '{"a":1}', owner: 'ann', timeout: 0.5 });
          expect(Math.abs(record!.createdAt - now)).toBeLessThan(TOLERANCE);
          expect(Math.abs(record!.expiresAt - now - LONG)).toBeLessThan(TOLERANCE);
        }
      });

      it('keeps a given createdAt, and leaves out owner and timeout where there are none', async () => {
        await one.create(key, writeOf('{}', { createdAt: 1_600_000_000_123 }));
        const record = await two.read(key);
        expect(record?.createdAt).toBe(1_600_000_000_123);
        expect(record?.owner).toBeUndefined();
        expect(record?.timeout).toBeUndefined();
      });

      it('finds nothing under an unknown key', async () => {
        await one.create(newKey(), writeOf('{}'));
        expect(await one.read(key)).toBeUndefined();
      });

      it('does not create over a record, locked or not', async () => {
        await one.create(key, writeOf('first'));
        expect(await two.create(key, writeOf('second'))).toBe(false);
        expect(await two.create(key, writeOf('second'), newLease())).toBe(false);
        await one.lock(key, newLease());
        expect(await two.create(key, writeOf('second'))).toBe(false);
        expect(await two.create(key, writeOf('second'), newLease())).toBe(false);
        expect(await dataOf(two)).toBe('first');
      });

      it('leaves no lock behind when it does not create', async () => {
        await one.create(key, writeOf('first'));
        await two.create(key, writeOf('second'), newLease());
        expect(await one.lock(key, newLease())).toMatchObject({ data: 'first' });
      });

      it('creates with the lock taken, if a lease is given', async () => {
        const lease = newLease();
        await one.create(key, writeOf('1'), lease);
        expect(await two.lock(key, newLease())).toBe('busy');
        expect(await one.save(key, writeOf('2'), lease, { unlock: true })).toBe(true);
        expect(await two.lock(key, newLease())).toMatchObject({ data: '2' });
      });

      it('creates again after a delete', async () => {
        await one.create(key, writeOf('1'), newLease());
        await two.delete(key);
        expect(await one.create(key, writeOf('2'))).toBe(true);
        expect(await two.lock(key, newLease())).toMatchObject({ data: '2' });
      });
    });

    describe('save and touch', () => {
      it('replaces all but createdAt', async () => {
        const createdAt = 1_600_000_000_123;
        await one.create(key, writeOf('1', { owner: 'ann', timeout: 5, createdAt }));
        const lease = newLease();
        await one.lock(key, lease);
        const second = writeOf('2', { owner: 'bob', timeout: 9, createdAt, ttl: 2 * LONG });
        expect(await one.save(key, second, lease, { unlock: false })).toBe(true);
        const record = await two.read(key);
        expect(record).toMatchObject({ data: '2', owner: 'bob', timeout: 9, createdAt });
        expect(record!.expiresAt).toBeGreaterThan(Date.now() + 2 * LONG - TOLERANCE);
        await one.save(key, writeOf('3', { createdAt }), lease, { unlock: false });
        const last = await two.read(key);
        expect(last).toMatchObject({ data: '3', createdAt });
        expect(last!.owner).toBeUndefined();
        expect(last!.timeout).toBeUndefined();
      });

      it('keeps the lock or frees it, as told', async () => {
        await one.create(key, writeOf('1'));
        const lease = newLease();
        await one.lock(key, lease);
        await one.save(key, writeOf('2'), lease, { unlock: false });
        expect(await two.lock(key, newLease())).toBe('busy');
        await one.save(key, writeOf('3'), lease, { unlock: true });
        expect(await one.save(key, writeOf('4'), lease, { unlock: true })).toBe(false);
        expect(await two.lock(key, newLease())).toMatchObject({ data: '3' });
      });

      it('saves nothing without the lock', async () => {
        await one.create(key, writeOf('1'));
        expect(await one.save(key, writeOf('2'), newLease(), { unlock: true })).toBe(false);
        expect(await dataOf(one)).toBe('1');
      });

      it('invariant 2, no resurrection: save inserts nothing', async () => {
        expect(await one.save(key, writeOf('1'), newLease(), { unlock: true })).toBe(false);
        expect(await two.read(key)).toBeUndefined();
      });

      it('touches with or without a lock, which stays as it is', async () => {
        await one.create(key, writeOf('1', { owner: 'ann', timeout: 5, createdAt: 1_600_000_000_123 }));
        const lease = newLease();
        await one.lock(key, lease);
        expect(await two.touch(key, 2 * LONG)).toBe(true);
        const record = await one.read(key);
        expect(record).toMatchObject({ data: '1', owner: 'ann', timeout: 5, createdAt: 1_600_000_000_123 });
        expect(record!.expiresAt).toBeGreaterThan(Date.now() + 2 * LONG - TOLERANCE);
        expect(await two.lock(key, newLease())).toBe('busy');
        await one.unlock(key, lease);
        expect(await two.touch(key, LONG)).toBe(true);
        expect((await one.read(key))!.expiresAt).toBeLessThan(Date.now() + LONG + TOLERANCE);
      });

      it('touches nothing that is not there', async () => {
        expect(await one.touch(key, LONG)).toBe(false);
        expect(await two.read(key)).toBeUndefined();
      });
    });

    describe('delete', () => {
      it('says whether there was a record', async () => {
        await one.create(key, writeOf('1'));
        expect(await two.delete(key)).toBe(true);
        expect(await one.delete(key)).toBe(false);
        expect(await one.read(key)).toBeUndefined();
      });

      it('invariant 2, no resurrection: removes a locked record at once, whose holder saves no more', async () => {
        await one.create(key, writeOf('1', { owner: 'ann' }));
        const lease = newLease();
        await one.lock(key, lease);
        expect(await two.delete(key)).toBe(true);
        expect(await one.renew(key, lease)).toBe(false);
        expect(await one.save(key, writeOf('2', { owner: 'ann' }), lease, { unlock: false })).toBe(false);
        expect(await one.save(key, writeOf('2', { owner: 'ann' }), lease, { unlock: true })).toBe(false);
        expect(await one.touch(key, LONG)).toBe(false);
        await one.unlock(key, lease, LONG);
        expect(await one.read(key)).toBeUndefined();
        expect(await two.lock(key, newLease())).toBeUndefined();
        expect((await two.count?.()) ?? 0).toBe(0);
        expect((await two.findByOwner?.('ann')) ?? []).toEqual([]);
      });

      it('fences the holder of the removed record from one that is created later', async () => {
        await one.create(key, writeOf('1'));
        const lease = newLease();
        await one.lock(key, lease);
        await two.delete(key);
        await two.create(key, writeOf('new'));
        expect(await one.save(key, writeOf('2'), lease, { unlock: true })).toBe(false);
        expect(await one.renew(key, lease)).toBe(false);
        expect(await two.lock(key, newLease())).toMatchObject({ data: 'new' });
      });
    });

    describe('an expired record is an absent one', () => {
      it('for every method, with nobody sweeping', async () => {
        await one.create(key, writeOf('1', { owner: 'ann', ttl: 30 }));
        await until(async () => !(await two.read(key)));
        expect(await one.read(key)).toBeUndefined();
        expect(await one.lock(key, newLease())).toBeUndefined();
        expect(await one.renew(key, newLease())).toBe(false);
        expect(await one.touch(key, LONG)).toBe(false);
        expect(await one.save(key, writeOf('2'), newLease(), { unlock: true })).toBe(false);
        expect((await one.count?.()) ?? 0).toBe(0);
        expect((await one.findByOwner?.('ann')) ?? []).toEqual([]);
        expect((await one.deleteByOwner?.('ann')) ?? 0).toBe(0);
        expect(await one.delete(key)).toBe(false);
      });

      it('for its lock too: the holder has lost it, others find no record', async () => {
        await one.create(key, writeOf('1'));
        const lease = newLease();
        await one.lock(key, lease);
        await expire(one, key);
        expect(await two.lock(key, newLease())).toBeUndefined();
        expect(await one.renew(key, lease)).toBe(false);
        expect(await one.save(key, writeOf('2'), lease, { unlock: true })).toBe(false);
        await one.unlock(key, lease, LONG);
        expect(await two.read(key)).toBeUndefined();
      });

      it('for its lease: it has no say in what is created under the key', async () => {
        const old = newLease();
        await one.create(key, writeOf('1'), old);
        await expire(one, key);
        await one.create(key, writeOf('new'));
        const { expiresAt } = (await one.read(key))!;
        await one.unlock(key, old, 10 * LONG);
        expect((await one.read(key))!.expiresAt).toBeLessThan(expiresAt + LONG);
      });

      for (const locked of [false, true]) {
        it(`for create: over ${locked ? 'a locked' : 'an unlocked'} one it makes a new record, with its lock`, async () => {
          await one.create(key, writeOf('1', { owner: 'ann' }));
          const old = newLease();
          if (locked) {
            await one.lock(key, old);
          }
          await expire(one, key);
          const lease = newLease();
          expect(await two.create(key, writeOf('new'), lease)).toBe(true);
          expect(await one.lock(key, newLease())).toBe('busy');
          expect(await one.save(key, writeOf('stale'), old, { unlock: true })).toBe(false);
          expect(await two.save(key, writeOf('newer'), lease, { unlock: true })).toBe(true);
          expect(await dataOf(one)).toBe('newer');
          expect((await one.findByOwner?.('ann')) ?? []).toEqual([]);
        });
      }

      it('cleanUp removes it, and only it', async () => {
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
        expect(await two.cleanUp()).toBe(sweepsItself ? 0 : 3);
        expect(await one.cleanUp()).toBe(0);
        expect(await dataOf(one)).toBe('kept');
        expect(await two.lock(key, newLease())).toBe('busy');
        expect(await one.save(key, writeOf('2', { owner: 'ann' }), lease, { unlock: true })).toBe(true);
        expect((await two.findByOwner?.('ann'))?.map(found => found.key) ?? [key]).toEqual([key]);
      });
    });

    it('count counts the records, whoever made them', async context => {
      context.skip(!one.count, 'a storage that cannot count');
      expect(await one.count!()).toBe(0);
      const keys = [newKey(), newKey(), newKey()];
      for (const each of keys) {
        await one.create(each, writeOf('1'));
      }
      await two.create(key, writeOf('1'), newLease());
      expect(await one.count!()).toBe(4);
      await two.delete(keys[0]!);
      await expire(one, keys[1]!);
      expect(await two.count!()).toBe(2);
    });

    it('invariant 10: keeps any text as data', async () => {
      const texts = ['', ' ', '\n', 'a\r\nb', '\u0000', '\u0000{}', '{"a":"\\u0000"}', '😀', '\u2028\uFEFF'];
      texts.push('"\'\\%', '\uFFFD', 'x'.repeat(1024 * 1024), '😀'.repeat(100_000));
      await one.create(key, writeOf('first'));
      for (const text of texts) {
        const lease = newLease();
        const other = newKey();
        expect(await one.create(other, writeOf(text))).toBe(true);
        expect((await two.read(other))?.data === text).toBe(true);
        await one.lock(key, lease);
        expect(await one.save(key, writeOf(text), lease, { unlock: true })).toBe(true);
        expect((await dataOf(two)) === text).toBe(true);
      }
    });
  });
}
