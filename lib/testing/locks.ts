import { setTimeout as sleep } from 'node:timers/promises';
import assert from 'node:assert/strict';
import type { Lease } from '../storage/session-backend.js';
import { above, below, includes, same } from './assertions.js';
import {
  dataOf,
  lockAndLapse,
  lockOnceFreed,
  LONG,
  newKey,
  newLease,
  TOLERANCE,
  until,
  writeOf,
} from './fixtures.js';
import type { Suite } from './suite.js';

/** What `SessionBackend` promises of locks. */
export function describeLocks({ name, describe, it }: Suite): void {
  describe(`invariant 7, one behaviour everywhere, locks: ${name}`, () => {
    describe('lock, renew and unlock', () => {
      it('gives the record to one lease and is busy for the others', async ({ one, two, key }) => {
        await one.create(key, writeOf('1', { owner: 'ann', timeout: 5 }));
        const lease = newLease();
        same(await one.lock(key, lease), await one.read(key));
        assert.equal(await two.lock(key, newLease()), 'busy');
        assert.equal(await one.lock(key, newLease()), 'busy');
        includes(await one.lock(key, lease), { data: '1' });
        assert.equal(await dataOf(two, key), '1'); // reads need no lock
      });

      it('locks nothing where there is no record', async ({ one, two, key }) => {
        assert.equal(await one.lock(key, newLease()), undefined);
        assert.equal(await two.create(key, writeOf('1'), newLease()), true);
      });

      it('is free after unlock, and only the holder can unlock', async ({ one, two, key }) => {
        await one.create(key, writeOf('1'));
        const lease = newLease();
        await one.lock(key, lease);
        await two.unlock(key, newLease());
        assert.equal(await two.lock(key, newLease()), 'busy');
        await one.unlock(key, lease);
        includes(await two.lock(key, newLease()), { data: '1' });
        assert.equal(await one.renew(key, lease), false);
        assert.equal(await one.save(key, writeOf('2'), lease, { unlock: false }), false);
        assert.equal(await dataOf(one, key), '1');
      });

      it('is free after it was freed with a renewal under way', async ({ one, two, key }) => {
        for (const free of [
          (lease: Lease) => one.unlock(key, lease),
          (lease: Lease) => one.unlock(key, lease, LONG),
          (lease: Lease) => one.save(key, writeOf('2'), lease, { unlock: true }),
        ]) {
          key = newKey();
          await one.create(key, writeOf('1'));
          const lease = newLease();
          await one.lock(key, lease);
          const renewing = one.renew(key, lease);
          await free(lease);
          await renewing;
          assert.ok(await lockOnceFreed(two, key));
        }
      });

      it('moves expiresAt with unlock, if asked, and if the lease holds the lock', async ({
        one,
        two,
        key,
      }) => {
        await one.create(key, writeOf('1'));
        const lease = newLease();
        await one.lock(key, lease);
        await two.unlock(key, newLease(), 2 * LONG);
        below((await one.read(key))!.expiresAt, Date.now() + LONG + TOLERANCE);
        await one.unlock(key, lease, 2 * LONG);
        above((await two.read(key))!.expiresAt, Date.now() + 2 * LONG - TOLERANCE);
        includes(await two.lock(key, newLease()), { data: '1' });
      });

      it('a lease that was given back, or came too late for a create(), moves no expiresAt with its unlock', async ({
        one,
        two,
        key,
      }) => {
        const early = newLease();
        await one.create(key, writeOf('1', { ttl: 60_000 }), early);
        await one.unlock(key, early);
        const late = newLease();
        assert.equal(await one.create(key, writeOf('2'), late), false);
        const before = (await one.read(key))!.expiresAt;
        await one.unlock(key, early, 3_600_000);
        await one.unlock(key, late, 3_600_000);
        assert.equal((await two.read(key))!.expiresAt, before);
      });

      it('does not mind an unlock or a renewal of what is not there', async ({ one, key }) => {
        await one.unlock(key, newLease());
        await one.unlock(key, newLease(), LONG);
        assert.equal(await one.renew(key, newLease()), false);
        assert.equal(await one.read(key), undefined);
      });
    });

    describe('invariant 9, crash-safe locks', () => {
      it('a lock lapses after its lease and is taken over', async ({ one, two, key }) => {
        await one.create(key, writeOf('1'));
        await one.lock(key, newLease(40));
        assert.equal(await until(async () => (await two.lock(key, newLease())) !== 'busy'), true);
        assert.equal(await one.lock(key, newLease()), 'busy');
      });

      it('a lock that is renewed, or saved, in time does not lapse', async ({ one, two }) => {
        const extensions = [
          (key: string, lease: Lease) => one.renew(key, lease),
          (key: string, lease: Lease) => one.save(key, writeOf('1'), lease, { unlock: false }),
        ];
        await Promise.all(
          extensions.map(async extend => {
            const held = newKey();
            await one.create(held, writeOf('1'));
            const lease = newLease(800);
            await one.lock(held, lease);
            let extendedAt = Date.now();
            for (const end = Date.now() + 1_700; Date.now() < end;) {
              if (Date.now() - extendedAt > 100) {
                assert.equal(await extend(held, lease), true);
                extendedAt = Date.now();
              }
              assert.equal(await two.lock(held, newLease()), 'busy');
              await sleep(20);
            }
          }),
        );
      });

      it('a stalled holder whose lock was taken over can do nothing more', async ({ one, two, key }) => {
        await one.create(key, writeOf('1'));
        const stalled = await lockAndLapse(one, key);
        const lease = newLease();
        includes(await two.lock(key, lease), { data: '1' });
        assert.equal(await one.renew(key, stalled), false);
        assert.equal(await one.save(key, writeOf('stale'), stalled, { unlock: false }), false);
        assert.equal(await one.save(key, writeOf('stale'), stalled, { unlock: true }), false);
        await one.unlock(key, stalled, 5 * LONG);
        assert.equal(await one.lock(key, newLease()), 'busy');
        below((await one.read(key))!.expiresAt, Date.now() + LONG + TOLERANCE);
        assert.equal(await two.save(key, writeOf('2'), lease, { unlock: true }), true);
        assert.equal(await one.save(key, writeOf('stale'), stalled, { unlock: true }), false);
        assert.equal(await dataOf(one, key), '2');
      });

      it('delete with a lease removes the record while the lease holds its lock, and only then', async ({
        one,
        two,
        key,
      }) => {
        await one.create(key, writeOf('1'));
        const stalled = await lockAndLapse(one, key);
        const lease = newLease();
        await two.lock(key, lease);
        assert.equal(await one.delete(key, stalled), false);
        assert.equal(await two.save(key, writeOf('2'), lease, { unlock: false }), true);
        assert.equal(await one.delete(key, stalled), false);
        assert.equal(await one.lock(key, newLease()), 'busy');
        await one.touch(key, 2 * LONG);
        assert.equal(await two.delete(key, lease), true);
        assert.equal(await one.read(key), undefined);
        assert.equal(await two.delete(key, lease), false);
        // Nothing of the lock is left.
        assert.equal(await one.create(key, writeOf('3')), true);
        includes(await two.lock(key, newLease()), { data: '3' });
        assert.equal(await one.delete(key, lease), false);
      });
    });
  });
}
