import { setImmediate } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { SessionBackend } from 'nest-sessions';
import { inLong } from '../support/long.js';
import type { BackendUnderTest } from './backends.js';
import {
  expire,
  lockAndLapse,
  newKey,
  newLease,
  times,
  until,
  useStorage,
  withOwners,
  writeOf,
} from './fixtures.js';

/** Lets other work go on for a few turns of the event loop: shifts what starts at the same time. */
async function stagger(most: number): Promise<void> {
  for (let turns = Math.floor(Math.random() * (most + 1)); turns > 0; turns--) {
    await setImmediate();
  }
}

/** "Every method is atomic on its key": calls at the same time, from two clients, end as if one after another. */
export function describeConcurrency({ name, open }: BackendUnderTest): void {
  describe(`invariant 7, atomic against other clients: ${name}`, () => {
    let one: SessionBackend;
    let two: SessionBackend;
    let key: string;
    useStorage(open, clients => {
      [one, two] = clients;
      key = newKey();
    });

    const [lateSaves, deletions] = inLong([100, 200], [40, 80]) as [number, number];
    const either = (index: number) => (index % 2 === 0 ? one : two);

    it('of 50 lock() at once, one gets the free lock, in each of 25 rounds', async () => {
      await one.create(key, writeOf('1'));
      for (let round = 0; round < 25; round++) {
        const leases = times(50, () => newLease());
        const results = await Promise.all(leases.map((lease, index) => either(index).lock(key, lease)));
        const winners = leases.filter((_, index) => results[index] !== 'busy');
        expect(winners).toHaveLength(1);
        expect(results.filter(result => result === undefined)).toHaveLength(0);
        await either(round).unlock(key, winners[0]!);
      }
    });

    it('invariant 9: of 30 lock() at once, one takes over a lapsed lock, in each of 25 rounds', async () => {
      await one.create(key, writeOf('1'));
      for (let round = 0; round < 25; round++) {
        const stalled = await lockAndLapse(one, key);
        const leases = times(30, () => newLease());
        const results = await Promise.all(leases.map((lease, index) => either(index).lock(key, lease)));
        const winners = leases.filter((_, index) => results[index] !== 'busy');
        expect(winners).toHaveLength(1);
        expect(await one.renew(key, stalled)).toBe(false);
        expect(await two.renew(key, winners[0]!)).toBe(true);
        await two.unlock(key, winners[0]!);
      }
    });

    it('invariant 1, no lost update: 20 lockers, read, add one and save: 100 of 100', async () => {
      await one.create(key, writeOf('0'));
      await Promise.all(
        times(20, async index => {
          const backend = either(index);
          for (let turn = 0; turn < 5; turn++) {
            const lease = newLease();
            const record = await until(async () => {
              const locked = await backend.lock(key, lease);
              return locked === 'busy' ? undefined : locked;
            });
            await stagger(2);
            const saved = await backend.save(key, writeOf(String(Number(record!.data) + 1)), lease, {
              unlock: true,
            });
            expect(saved).toBe(true);
          }
        }),
      );
      expect((await two.read(key))?.data).toBe('100');
    });

    it(`invariant 9: a late save and a take-over at once: never both of one state, ${lateSaves} rounds`, async () => {
      await one.create(key, writeOf('0'));
      let saves = 0;
      for (let round = 0; round < lateSaves; round++) {
        const value = Number((await one.read(key))!.data);
        const stalled = await lockAndLapse(one, key);
        const lease = newLease();
        const [late, record] = await Promise.all([
          stagger(4).then(() =>
            one.save(key, writeOf(String(value + 1)), stalled, { unlock: round % 3 === 0 }),
          ),
          stagger(4).then(() => two.lock(key, lease)),
        ]);
        saves += late ? 1 : 0;
        if (record && record !== 'busy') {
          // Whoever was late is out; a save that succeeded is one that this lock has seen.
          const next = writeOf(String(Number(record.data) + 1));
          expect(await two.save(key, next, lease, { unlock: true })).toBe(true);
          saves++;
        } else {
          expect(late).toBe(true); // it came first, which restarted its lease
          await one.unlock(key, stalled);
        }
        expect(Number((await two.read(key))!.data)).toBe(saves);
      }
    });

    it(`invariant 2, no resurrection: delete and save at once leave no record, ${deletions} rounds`, async () => {
      for (let round = 0; round < deletions; round++) {
        key = newKey();
        const lease = newLease();
        await one.create(key, writeOf('1', { owner: 'ann' }), lease);
        const [deleted] = await Promise.all([
          stagger(6).then(() => two.delete(key)),
          stagger(6).then(() =>
            one.save(key, writeOf('2', { owner: 'ann' }), lease, { unlock: round % 2 === 0 }),
          ),
        ]);
        expect(deleted).toBe(true);
        expect(await one.save(key, writeOf('3'), lease, { unlock: true })).toBe(false);
        expect(await one.read(key)).toBeUndefined();
        expect(await two.lock(key, newLease())).toBeUndefined();
      }
      expect((await one.count?.()) ?? 0).toBe(0);
      expect((await one.findByOwner?.('ann')) ?? []).toEqual([]);
    });

    it('invariant 2, no resurrection: nor do touch, renew and unlock beside a delete, 50 rounds', async () => {
      for (let round = 0; round < 50; round++) {
        key = newKey();
        const lease = newLease();
        await one.create(key, writeOf('1'), lease);
        await Promise.all([
          stagger(4).then(() => two.delete(key)),
          stagger(4).then(() => one.touch(key, 1_000_000)),
          stagger(4).then(() => one.renew(key, lease)),
          stagger(4).then(() => one.unlock(key, lease, 1_000_000)),
        ]);
        expect(await one.read(key)).toBeUndefined();
        expect(await two.touch(key, 1_000_000)).toBe(false);
        expect(await two.create(key, writeOf('new'), newLease())).toBe(true);
      }
    });

    it('of 10 delete() at once, one removed the record, in each of 25 rounds', async () => {
      for (let round = 0; round < 25; round++) {
        await one.create(key, writeOf('1'));
        const results = await Promise.all(times(10, index => either(index).delete(key)));
        expect(results.filter(Boolean)).toHaveLength(1);
      }
    });

    for (const over of ['nothing', 'an expired record']) {
      it(`of 10 create() at once over ${over}, one succeeds, in each of 25 rounds`, async () => {
        for (let round = 0; round < 25; round++) {
          key = newKey();
          if (over !== 'nothing') {
            await one.create(key, writeOf('old'), newLease());
            await expire(one, key);
          }
          const leases = times(10, index => (index % 3 === 0 ? undefined : newLease()));
          const results = await Promise.all(
            leases.map((lease, index) => either(index).create(key, writeOf(String(index)), lease)),
          );
          expect(results.filter(Boolean)).toHaveLength(1);
          const winner = results.indexOf(true);
          const lease = leases[winner];
          expect((await one.read(key))?.data).toBe(String(winner));
          const locked = await two.lock(key, newLease());
          if (lease) {
            expect(locked).toBe('busy');
            expect(await one.save(key, writeOf('mine'), lease, { unlock: true })).toBe(true);
          } else {
            expect(locked).toMatchObject({ data: String(winner) });
          }
        }
      });
    }

    it('a reader beside 150 saves always finds one of the saved states, never going back', async () => {
      const lease = newLease();
      const text = (version: number) => `${version}:${'x'.repeat(20_000 + version)}`;
      await one.create(key, writeOf(text(0)), lease);
      const saves = { over: false };
      const reading = (async () => {
        let seen = 0;
        while (!saves.over) {
          const data = (await two.read(key))!.data;
          const version = Number(data.slice(0, data.indexOf(':')));
          expect(data === text(version)).toBe(true);
          expect(version).toBeGreaterThanOrEqual(seen);
          seen = version;
          await setImmediate();
        }
      })();
      for (let version = 1; version <= 150; version++) {
        expect(await one.save(key, writeOf(text(version)), lease, { unlock: false })).toBe(true);
      }
      saves.over = true;
      await reading;
    });

    it('a sweep beside creates, saves and touches takes nothing that lives', async context => {
      const backend = withOwners(two, context);
      const creates = { over: false };
      const sweeping = (async () => {
        while (!creates.over) {
          await two.cleanUp();
          await setImmediate();
        }
      })();
      const keys = await Promise.all(
        times(150, async index => {
          await stagger(40);
          const each = newKey();
          const lease = newLease();
          expect(await one.create(each, writeOf('1', { owner: 'ann' }), lease)).toBe(true);
          await one.touch(each, 500_000);
          const saved = await one.save(each, writeOf(String(index), { owner: 'ann' }), lease, {
            unlock: true,
          });
          expect(saved).toBe(true);
          return each;
        }),
      );
      creates.over = true;
      await sweeping;
      const found = await backend.findByOwner('ann');
      expect(found.map(record => record.key).sort()).toEqual(keys.sort());
    });

    it('a sweep beside a create loses no record to its owner', async context => {
      const backend = withOwners(two, context);
      for (let round = 0; round < 50; round++) {
        key = newKey();
        const owner = `owner ${round}`;
        await Promise.all([
          one.create(key, writeOf('1', { owner })),
          stagger(3).then(() => two.cleanUp()),
          stagger(6).then(() => two.cleanUp()),
        ]);
        expect(await backend.findByOwner(owner)).toHaveLength(1);
        await one.delete(key);
      }
    });
  });
}
