import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Lease, SessionBackend } from 'nest-sessions';
import type { BackendUnderTest } from './backends.js';
import { lockAndLapse, LONG, newKey, newLease, TOLERANCE, until, useStorage, writeOf } from './fixtures.js';

/** What `SessionBackend` promises of locks. */
export function describeLocks({ name, open }: BackendUnderTest): void {
  describe(`invariant 7, one behaviour everywhere, locks: ${name}`, () => {
    /** Two clients of the storage; what one does, the other sees. */
    let one: SessionBackend;
    let two: SessionBackend;
    let key: string;
    useStorage(open, clients => {
      [one, two] = clients;
      key = newKey();
    });

    const dataOf = async (backend: SessionBackend) => (await backend.read(key))?.data;

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

      it('is free after it was freed with a renewal under way', async () => {
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
          expect(await two.lock(key, newLease())).not.toBe('busy');
        }
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

      it('a lease that was given back, or came too late for a create(), moves no expiresAt with its unlock', async () => {
        const early = newLease();
        await one.create(key, writeOf('1', { ttl: 60_000 }), early);
        await one.unlock(key, early);
        const late = newLease();
        expect(await one.create(key, writeOf('2'), late)).toBe(false);
        const before = (await one.read(key))!.expiresAt;
        await one.unlock(key, early, 3_600_000);
        await one.unlock(key, late, 3_600_000);
        expect((await two.read(key))!.expiresAt).toBe(before);
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

      it('a lock that is renewed, or saved, in time does not lapse', async () => {
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
                expect(await extend(held, lease)).toBe(true);
                extendedAt = Date.now();
              }
              expect(await two.lock(held, newLease())).toBe('busy');
              await sleep(20);
            }
          }),
        );
      });

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

      it('delete with a lease removes the record while the lease holds its lock, and only then', async () => {
        await one.create(key, writeOf('1'));
        const stalled = await lockAndLapse(one, key);
        const lease = newLease();
        await two.lock(key, lease);
        expect(await one.delete(key, stalled)).toBe(false);
        expect(await two.save(key, writeOf('2'), lease, { unlock: false })).toBe(true);
        expect(await one.delete(key, stalled)).toBe(false);
        expect(await one.lock(key, newLease())).toBe('busy');
        await one.touch(key, 2 * LONG);
        expect(await two.delete(key, lease)).toBe(true);
        expect(await one.read(key)).toBeUndefined();
        expect(await two.delete(key, lease)).toBe(false);
        // Nothing of the lock is left.
        expect(await one.create(key, writeOf('3'))).toBe(true);
        expect(await two.lock(key, newLease())).toMatchObject({ data: '3' });
        expect(await one.delete(key, lease)).toBe(false);
      });
    });
  });
}
