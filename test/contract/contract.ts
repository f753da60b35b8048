import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SessionBackend } from 'nest-sessions';
import type { BackendUnderTest, TestStorage } from './backends.js';
import { expire, lockAndLapse, LONG, newKey, newLease, until, withOwners, writeOf } from './fixtures.js';

/** Milliseconds by which a storage may be off with a time. */
const TOLERANCE = 2_000;

/** The promises of `SessionBackend`, method by method. */
export function describeContract({ name, open }: BackendUnderTest): void {
  describe(`invariant 7, one behaviour everywhere: ${name}`, () => {
    let storage: TestStorage;
    /** Two clients of the storage; what one does, the other sees. */
    let one: SessionBackend;
    let two: SessionBackend;
    let key: string;

    beforeEach(async () => {
      storage = await open();
      [one, two] = storage.clients;
      key = newKey();
    });
    afterEach(() => storage.close());

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

    describe('lock, renew and unlock', () => {
      it('gives the record to one lease and is busy for the others', async () => {
        await one.create(key, writeOf('1', { owner: 'ann', timeout: 5 }));
        const lease = newLease();
        expect(await one.lock(key, lease)).toEqual(await one.read(key));
        expect(await two.lock(key, newLease())).toBe('busy');
        expect(await one.lock(key, newLease())).toBe('busy');
        expect(await one.lock(key, lease)).toMatchObject({ data: '1' });
        expect(await dataOf(two)).toBe('1'); // reads need no lock
      });

      it('locks nothing where there is no record', async () => {
        expect(await one.lock(key, newLease())).toBeUndefined();
        expect(await two.create(key, writeOf('1'), newLease())).toBe(true);
      });

      it('is free after unlock, and only the holder can unlock', async () => {
        await one.create(key, writeOf('1'));
        const lease = newLease();
        await one.lock(key, lease);
        await two.unlock(key, newLease());
        expect(await two.lock(key, newLease())).toBe('busy');
        await one.unlock(key, lease);
        expect(await two.lock(key, newLease())).toMatchObject({ data: '1' });
        expect(await one.renew(key, lease)).toBe(false);
        expect(await one.save(key, writeOf('2'), lease, { unlock: false })).toBe(false);
        expect(await dataOf(one)).toBe('1');
      });

      it('moves expiresAt with unlock, if asked, and if the lease holds the lock', async () => {
        await one.create(key, writeOf('1'));
        const lease = newLease();
        await one.lock(key, lease);
        await two.unlock(key, newLease(), 2 * LONG);
        expect((await one.read(key))!.expiresAt).toBeLessThan(Date.now() + LONG + TOLERANCE);
        await one.unlock(key, lease, 2 * LONG);
        expect((await two.read(key))!.expiresAt).toBeGreaterThan(Date.now() + 2 * LONG - TOLERANCE);
        expect(await two.lock(key, newLease())).toMatchObject({ data: '1' });
      });

      it('does not mind an unlock or a renewal of what is not there', async () => {
        await one.unlock(key, newLease());
        await one.unlock(key, newLease(), LONG);
        expect(await one.renew(key, newLease())).toBe(false);
        expect(await one.read(key)).toBeUndefined();
      });
    });

    describe('invariant 9, crash-safe locks', () => {
      it('a lock lapses after its lease and is taken over', async () => {
        await one.create(key, writeOf('1'));
        await one.lock(key, newLease(40));
        expect(await until(async () => (await two.lock(key, newLease())) !== 'busy')).toBe(true);
        expect(await one.lock(key, newLease())).toBe('busy');
      });

      for (const [how, extend] of [
        ['renewed', (lease: ReturnType<typeof newLease>) => one.renew(key, lease)],
        [
          'saved',
          (lease: ReturnType<typeof newLease>) => one.save(key, writeOf('1'), lease, { unlock: false }),
        ],
      ] as const) {
        it(`a lock that is ${how} in time does not lapse`, async () => {
          await one.create(key, writeOf('1'));
          const lease = newLease(800);
          await one.lock(key, lease);
          let extendedAt = Date.now();
          for (const end = Date.now() + 1_700; Date.now() < end;) {
            if (Date.now() - extendedAt > 100) {
              expect(await extend(lease)).toBe(true);
              extendedAt = Date.now();
            }
            expect(await two.lock(key, newLease())).toBe('busy');
            await new Promise(resolve => setTimeout(resolve, 20));
          }
        });
      }

      it('a stalled holder whose lock was taken over can do nothing more', async () => {
        await one.create(key, writeOf('1'));
        const stalled = await lockAndLapse(one, key);
        const lease = newLease();
        expect(await two.lock(key, lease)).toMatchObject({ data: '1' });
        expect(await one.renew(key, stalled)).toBe(false);
        expect(await one.save(key, writeOf('stale'), stalled, { unlock: false })).toBe(false);
        expect(await one.save(key, writeOf('stale'), stalled, { unlock: true })).toBe(false);
        await one.unlock(key, stalled, 5 * LONG);
        expect(await one.lock(key, newLease())).toBe('busy');
        expect((await one.read(key))!.expiresAt).toBeLessThan(Date.now() + LONG + TOLERANCE);
        expect(await two.save(key, writeOf('2'), lease, { unlock: true })).toBe(true);
        expect(await one.save(key, writeOf('stale'), stalled, { unlock: true })).toBe(false);
        expect(await dataOf(one)).toBe('2');
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
        expect(await two.cleanUp()).toBe(3);
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

    describe('owners', () => {
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
        owners.push(
          "'; DROP TABLE sessions; --",
          'é',
          'e\u0301',
          'ﬁ',
          'fi',
          'x'.repeat(300),
          'x'.repeat(301),
        );
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
