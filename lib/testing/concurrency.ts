import { setImmediate } from 'node:timers/promises';
import assert from 'node:assert/strict';
import type { SessionBackend } from '../storage/session-backend.js';
import { atLeast, includes, same } from './assertions.js';
import { expire, lockAndLapse, newKey, newLease, times, until, writeOf } from './fixtures.js';
import type { Subject, Suite } from './suite.js';

/** Lets other work go on for a few turns of the event loop: shifts what starts at the same time. */
async function stagger(most: number): Promise<void> {
  for (let turns = Math.floor(Math.random() * (most + 1)); turns > 0; turns--) {
    await setImmediate();
  }
}

const either = ({ one, two }: Pick<Subject, 'one' | 'two'>, index: number): SessionBackend =>
  index % 2 === 0 ? one : two;

/** "Every method is atomic on its key": calls at the same time, from two clients, end as if one after another. */
export function describeConcurrency({ name, describe, it, needing }: Suite): void {
  const itByOwner = needing('findByOwner', 'deleteByOwner');

  describe(`invariant 7, atomic against other clients: ${name}`, () => {
    it('of 50 lock() at once, one gets the free lock, in each of 25 rounds', async ({ one, two, key }) => {
      await one.create(key, writeOf('1'));
      for (let round = 0; round < 25; round++) {
        const leases = times(50, () => newLease());
        const results = await Promise.all(
          leases.map((lease, index) => either({ one, two }, index).lock(key, lease)),
        );
        const winners = leases.filter((_, index) => results[index] !== 'busy');
        assert.equal(winners.length, 1);
        assert.equal(results.filter(result => result === undefined).length, 0);
        await either({ one, two }, round).unlock(key, winners[0]!);
      }
    });

    it('invariant 9: of 30 lock() at once, one takes over a lapsed lock, in each of 25 rounds', async ({
      one,
      two,
      key,
    }) => {
      await one.create(key, writeOf('1'));
      for (let round = 0; round < 25; round++) {
        const stalled = await lockAndLapse(one, key);
        const leases = times(30, () => newLease());
        const results = await Promise.all(
          leases.map((lease, index) => either({ one, two }, index).lock(key, lease)),
        );
        const winners = leases.filter((_, index) => results[index] !== 'busy');
        assert.equal(winners.length, 1);
        assert.equal(await one.renew(key, stalled), false);
        assert.equal(await two.renew(key, winners[0]!), true);
        await two.unlock(key, winners[0]!);
      }
    });

    it('invariant 1, no lost update: 20 lockers, read, add one and save: 100 of 100', async ({
      one,
      two,
      key,
    }) => {
      await one.create(key, writeOf('0'));
      await Promise.all(
        times(20, async index => {
          const backend = either({ one, two }, index);
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
            assert.equal(saved, true);
          }
        }),
      );
      assert.equal((await two.read(key))?.data, '100');
    });

    it('invariant 9: a late save and a take-over at once: never both of one state, 100 rounds', async ({
      one,
      two,
      key,
    }) => {
      await one.create(key, writeOf('0'));
      let saves = 0;
      for (let round = 0; round < 100; round++) {
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
          assert.equal(await two.save(key, next, lease, { unlock: true }), true);
          saves++;
        } else {
          assert.equal(late, true); // it came first, which restarted its lease
          await one.unlock(key, stalled);
        }
        assert.equal(Number((await two.read(key))!.data), saves);
      }
    });

    it('invariant 2, no resurrection: delete and save at once leave no record, 200 rounds', async ({
      one,
      two,
      key,
    }) => {
      for (let round = 0; round < 200; round++) {
        key = newKey();
        const lease = newLease();
        await one.create(key, writeOf('1', { owner: 'ann' }), lease);
        const [deleted] = await Promise.all([
          stagger(6).then(() => two.delete(key)),
          stagger(6).then(() =>
            one.save(key, writeOf('2', { owner: 'ann' }), lease, { unlock: round % 2 === 0 }),
          ),
        ]);
        assert.equal(deleted, true);
        assert.equal(await one.save(key, writeOf('3'), lease, { unlock: true }), false);
        assert.equal(await one.read(key), undefined);
        assert.equal(await two.lock(key, newLease()), undefined);
      }
      assert.equal((await one.count?.()) ?? 0, 0);
      same((await one.findByOwner?.('ann')) ?? [], []);
    });

    it('invariant 2, no resurrection: nor do touch, renew and unlock beside a delete, 50 rounds', async ({
      one,
      two,
      key,
    }) => {
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
        assert.equal(await one.read(key), undefined);
        assert.equal(await two.touch(key, 1_000_000), false);
        assert.equal(await two.create(key, writeOf('new'), newLease()), true);
      }
    });

    it('of 10 delete() at once, one removed the record, in each of 25 rounds', async ({ one, two, key }) => {
      for (let round = 0; round < 25; round++) {
        await one.create(key, writeOf('1'));
        const results = await Promise.all(times(10, index => either({ one, two }, index).delete(key)));
        assert.equal(results.filter(Boolean).length, 1);
      }
    });

    for (const over of ['nothing', 'an expired record']) {
      it(`of 10 create() at once over ${over}, one succeeds, in each of 25 rounds`, async ({
        one,
        two,
        key,
      }) => {
        for (let round = 0; round < 25; round++) {
          key = newKey();
          if (over !== 'nothing') {
            await one.create(key, writeOf('old'), newLease());
            await expire(one, key);
          }
          const leases = times(10, index => (index % 3 === 0 ? undefined : newLease()));
          const results = await Promise.all(
            leases.map((lease, index) =>
              either({ one, two }, index).create(key, writeOf(String(index)), lease),
            ),
          );
          assert.equal(results.filter(Boolean).length, 1);
          const winner = results.indexOf(true);
          const lease = leases[winner];
          assert.equal((await one.read(key))?.data, String(winner));
          const locked = await two.lock(key, newLease());
          if (lease) {
            assert.equal(locked, 'busy');
            assert.equal(await one.save(key, writeOf('mine'), lease, { unlock: true }), true);
          } else {
            includes(locked, { data: String(winner) });
          }
        }
      });
    }

    it('a reader beside 150 saves always finds one of the saved states, never going back', async ({
      one,
      two,
      key,
    }) => {
      const lease = newLease();
      const text = (version: number) => `${version}:${'x'.repeat(20_000 + version)}`;
      await one.create(key, writeOf(text(0)), lease);
      const saves = { over: false };
      const reading = (async () => {
        let seen = 0;
        while (!saves.over) {
          const data = (await two.read(key))!.data;
          const version = Number(data.slice(0, data.indexOf(':')));
          assert.ok(data === text(version));
          atLeast(version, seen);
          seen = version;
          await setImmediate();
        }
      })();
      const saving = async () => {
        for (let version = 1; version <= 150; version++) {
          assert.equal(await one.save(key, writeOf(text(version)), lease, { unlock: false }), true);
        }
      };
      const ending = saving().finally(() => {
        saves.over = true;
      });
      await Promise.all([reading, ending]);
    });

    itByOwner('a sweep beside creates, saves and touches takes nothing that lives', async ({ one, two }) => {
      const creates = { over: false };
      const sweeping = (async () => {
        while (!creates.over) {
          await two.cleanUp();
          await setImmediate();
        }
      })();
      const creating = Promise.all(
        times(150, async index => {
          await stagger(40);
          const each = newKey();
          const lease = newLease();
          assert.equal(await one.create(each, writeOf('1', { owner: 'ann' }), lease), true);
          await one.touch(each, 500_000);
          const saved = await one.save(each, writeOf(String(index), { owner: 'ann' }), lease, {
            unlock: true,
          });
          assert.equal(saved, true);
          return each;
        }),
      );
      const ending = creating.finally(() => {
        creates.over = true;
      });
      const [keys] = await Promise.all([ending, sweeping]);
      const found = await two.findByOwner('ann');
      same(found.map(record => record.key).sort(), keys.sort());
    });

    itByOwner('a sweep beside a create loses no record to its owner', async ({ one, two, key }) => {
      for (let round = 0; round < 50; round++) {
        key = newKey();
        const owner = `owner ${round}`;
        await Promise.all([
          one.create(key, writeOf('1', { owner })),
          stagger(3).then(() => two.cleanUp()),
          stagger(6).then(() => two.cleanUp()),
        ]);
        assert.equal((await two.findByOwner(owner)).length, 1);
        await one.delete(key);
      }
    });
  });
}
