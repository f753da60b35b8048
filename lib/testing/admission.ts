import assert from 'node:assert/strict';
import type {
  Admission,
  Lease,
  OwnerLimit,
  SessionBackend,
  SessionWrite,
} from '../storage/session-backend.js';
import { dataOf, expire, newKey, newLease, times, writeOf } from './fixtures.js';
import { includes, same } from './assertions.js';
import type { Suite } from './suite.js';

type Owned = SessionWrite & { owner: string };
type WithOwners = SessionBackend & Required<Pick<SessionBackend, 'findByOwner'>>;

const ENDS: OwnerLimit = { max: 3, refuses: false };
const REFUSES: OwnerLimit = { max: 3, refuses: true };

const owned = (data: string, owner = 'ann', createdAt?: number): Owned => ({
  ...writeOf(data, { createdAt }),
  owner,
});
const created = (key = newKey(), write = owned('new'), lease?: Lease): Admission => ({ key, write, lease });
const saved = (key: string, lease: Lease, unlock = true): Admission => ({
  key,
  write: owned('new'),
  lease,
  save: { unlock },
});

async function keysOf(backend: WithOwners, owner = 'ann'): Promise<string[]> {
  return (await backend.findByOwner(owner)).map(({ key }) => key);
}

/** Sessions of ann, the oldest first. */
async function sessions(backend: SessionBackend, count: number): Promise<string[]> {
  const keys = times(count, newKey);
  for (const [index, key] of keys.entries()) {
    await backend.create(key, owned('old', 'ann', 1_000 * (index + 1)));
  }
  return keys;
}

/** What `SessionBackend` promises of limits, where a storage keeps owners to them. */
export function describeAdmission({ name, describe, needing }: Suite): void {
  const it = needing('findByOwner', 'deleteByOwner', 'admit');

  describe(`no owner has more sessions than the limit: ${name}`, () => {
    it('below the limit, admit() is create() or save()', async ({ one, two, key }) => {
      const lease = newLease();
      assert.equal(await one.admit(created(key, owned('1'), lease), REFUSES), true);
      assert.equal(await one.admit(created(key), ENDS), false);
      assert.equal(await two.lock(key, newLease()), 'busy');
      includes(await two.read(key), { data: '1', owner: 'ann' });

      const other = newKey();
      await one.create(other, writeOf('1'), lease);
      assert.equal(await one.admit(saved(other, lease, false), REFUSES), true);
      assert.equal(await two.lock(other, newLease()), 'busy');
      assert.equal(await one.save(other, owned('2'), lease, { unlock: true }), true);
      includes(await two.read(other), { data: '2', owner: 'ann' });
    });

    it('ends the oldest, whoever holds its lock, and nobody else', async ({ one, two }) => {
      const [oldest, second, third] = await sessions(one, 3);
      const bobs = newKey();
      await one.create(bobs, owned('1', 'bob', 1));
      const holder = newLease();
      await two.lock(oldest!, holder);
      const next = newKey();
      assert.equal(await one.admit(created(next, owned('1', 'ann', 4_000)), ENDS), true);
      same(await keysOf(two), [second, third, next]);
      assert.equal(await two.save(oldest!, owned('2'), holder, { unlock: true }), false);
      assert.equal(await dataOf(two, oldest!), undefined);
      same(await keysOf(two, 'bob'), [bobs]);
    });

    it('ends as many as a lower limit asks for, never the one that comes', async ({ one }) => {
      await sessions(one, 5);
      const next = newKey();
      assert.equal(await one.admit(created(next, owned('1', 'ann', 1)), { max: 1, refuses: false }), true);
      same(await keysOf(one), [next]);
    });

    it('refuses one more, and leaves all as it is', async ({ one, two, key }) => {
      const keys = await sessions(one, 3);
      assert.equal(await one.admit(created(key), REFUSES), 'refused');
      assert.equal(await two.read(key), undefined);
      const lease = newLease();
      await one.create(key, writeOf('anonymous'), lease);
      assert.equal(await one.admit(saved(key, lease), REFUSES), 'refused');
      includes(await two.read(key), { data: 'anonymous', owner: undefined });
      assert.equal(await one.renew(key, lease), true);
      same(await keysOf(two), keys);
      await one.deleteByOwner('ann', { only: keys[0]! });
      assert.equal(await one.admit(saved(key, lease), REFUSES), true);
      assert.equal((await keysOf(two)).length, 3);
    });

    it('counts neither what has expired, nor the session itself', async ({ one }) => {
      const [first, second, third] = await sessions(one, 3);
      await expire(one, first!);
      assert.equal(await one.admit(created(), REFUSES), true);
      const lease = newLease();
      await one.lock(third!, lease);
      assert.equal(await one.admit(saved(third!, lease), REFUSES), true);
      includes(await one.read(second!), { data: 'old' });
    });

    it('for a save without the lock, or of a session that is gone, nobody ends', async ({ one, key }) => {
      const keys = await sessions(one, 3);
      assert.equal(await one.admit(saved(key, newLease()), ENDS), false);
      await one.create(key, writeOf('1'), newLease());
      assert.equal(await one.admit(saved(key, newLease()), ENDS), false);
      same(await keysOf(one), keys);
    });

    it('takes data that is no JSON, and any text for an owner', async ({ one }) => {
      for (const data of ['{"a":', 'plain', '\u0000']) {
        const owner = `\u0000 ${data} \\ '`;
        const key = newKey();
        assert.equal(await one.admit(created(key, owned(data, owner)), ENDS), true);
        includes(await one.read(key), { data, owner });
      }
    });

    it('of 50 at once from two clients, 3 are there at the end, in each of 5 rounds', async ({
      one,
      two,
    }) => {
      for (let round = 0; round < 5; round++) {
        const keys = times(50, newKey);
        const results = await Promise.all(
          keys.map(async (key, index) => {
            const client = index % 2 === 0 ? one : two;
            if (index % 4 < 2) {
              return client.admit(created(key), ENDS);
            }
            const lease = newLease();
            await client.create(key, writeOf('1'), lease);
            return client.admit(saved(key, lease), ENDS);
          }),
        );
        same(new Set(results).size, 1);
        assert.equal(results[0], true);
        assert.equal((await keysOf(one)).length, 3);
      }
    });

    it('of 50 at once from two clients, 3 are let in and 47 refused, in each of 5 rounds', async ({
      one,
      two,
    }) => {
      for (let round = 0; round < 5; round++) {
        const owner = `ann ${round}`;
        const keys = times(50, newKey);
        const results = await Promise.all(
          keys.map((key, index) =>
            (index % 2 === 0 ? one : two).admit(created(key, owned('1', owner)), REFUSES),
          ),
        );
        const admitted = keys.filter((_, index) => results[index] === true);
        assert.equal(admitted.length, 3);
        assert.equal(results.filter(result => result === 'refused').length, 47);
        same((await keysOf(two, owner)).sort(), admitted.sort());
      }
    });
  });
}
