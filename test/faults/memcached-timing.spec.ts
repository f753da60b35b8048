import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SessionBackend } from 'nest-sessions';
import { BACKENDS, type TestStorage } from '../contract/backends.js';
import { LONG, newKey, newLease, times, until, writeOf } from '../contract/fixtures.js';

interface Connection {
  get(home: string, key: string): Promise<{ value: string } | undefined>;
  set(home: string, key: string, value: string, ttlMs: number): Promise<unknown>;
}

const connectionOf = (backend: SessionBackend) =>
  (backend as unknown as { connection: Connection }).connection;

for (const { name, open } of BACKENDS.filter(backend => backend.name === 'memcached')) {
  describe(`touches beside saves: ${name}`, () => {
    let storage: TestStorage;
    let one: SessionBackend;
    let two: SessionBackend;
    let key: string;
    beforeEach(async () => {
      storage = await open();
      [one, two] = storage.clients;
      key = newKey();
      await one.create(key, writeOf('[]'));
    });
    afterEach(() => storage.close());

    /** What this client asks memcached for takes a while. */
    const slowDown = (backend: SessionBackend, ms: number) => {
      const connection = connectionOf(backend);
      const get = connection.get.bind(connection);
      connection.get = async (...args) => (await sleep(ms), get(...args));
    };

    it.each(['save', 'save, keep the lock', 'renew, save'])(
      'invariant 1, no lost update: nobody has read before a save that a touch made try again (then: %s)',
      async next => {
        const [lease, later] = [newLease(), newLease()];
        expect(await one.lock(key, lease)).toMatchObject({ data: '[]' });
        await two.touch(key, LONG);
        slowDown(one, 150);
        const saving = one.save(key, writeOf('["one"]'), lease, { unlock: true });
        await sleep(50);
        const early = await two.lock(key, later);
        expect(await saving).toBe(true);
        const read = early === 'busy' ? await until(() => lockOf(two, key, later)) : early!;
        expect(read).toMatchObject({ data: '["one"]' });
        if (next.startsWith('renew')) {
          expect(await two.renew(key, later)).toBe(true);
        }
        const unlock = next !== 'save, keep the lock';
        expect(await two.save(key, writeOf('["one","two"]'), later, { unlock })).toBe(true);
        expect((await one.read(key))!.data).toBe('["one","two"]');
      },
    );

    it('invariant 9, fencing: a renewal does not take over what another has saved', async () => {
      const [lease, thief] = [newLease(1), newLease()];
      await one.lock(key, lease);
      await until(() => lockOf(two, key, thief));
      expect(await two.save(key, writeOf('["thief"]'), thief, { unlock: true })).toBe(true);
      expect(await one.renew(key, lease)).toBe(false);
      expect(await one.save(key, writeOf('["late"]'), lease, { unlock: true })).toBe(false);
      expect((await two.read(key))!.data).toBe('["thief"]');
    });

    it('invariant 9, fencing: a renewal is refused where a write came late, of one whose lock was given back', async () => {
      const lease = newLease();
      expect(await one.lock(key, lease)).toMatchObject({ data: '[]' });
      const item = (one as unknown as { prefix: string }).prefix + key;
      const { value } = (await connectionOf(two).get(key, item))!;
      // What a server that hung had still to do.
      const late = value.replace(/"version":"[^"]*"/, '"version":"late"').replace(/\[\]$/, '["late"]');
      await connectionOf(two).set(key, item, late, LONG);
      expect(await one.renew(key, lease)).toBe(false);
      expect(await one.save(key, writeOf('["one"]'), lease, { unlock: true })).toBe(false);
      expect((await two.read(key))!.data).toBe('["late"]');
    });

    it('a renewal beside a save of the same holder is one of a lock that is held', async () => {
      for (let round = 0; round < 50; round++) {
        const lease = newLease();
        await until(() => lockOf(one, key, lease));
        const saving = one.save(key, writeOf(`[${round}]`), lease, { unlock: false });
        for (let steps = round % 10; steps > 0; steps--) {
          await Promise.resolve(); // so that it is asked for at each step of the save
        }
        expect(await Promise.all([saving, one.renew(key, lease)])).toEqual([true, true]);
        await one.unlock(key, lease);
      }
    });

    it('60 saves beside touches without a lock: none is refused, and no touch takes the session for gone', async () => {
      const state = { isOver: false };
      const touching = times(3, async () => {
        for (let count = 0; !state.isOver || count < 20; count++) {
          expect(await two.touch(key, LONG)).toBe(true);
        }
      });
      for (let count = 0; count < 60; count++) {
        const lease = newLease();
        const record = await until(() => lockOf(one, key, lease));
        const saved = JSON.stringify([...JSON.parse(record!.data), count]);
        expect(await one.save(key, writeOf(saved), lease, { unlock: true })).toBe(true);
      }
      state.isOver = true;
      await Promise.all(touching);
      expect(JSON.parse((await two.read(key))!.data)).toEqual(times(60, count => count));
    });

    it('a lock is given back behind the answer, also when the storage is closed at once', async () => {
      const lease = newLease();
      await one.lock(key, lease);
      slowDown(one, 100);
      await one.save(key, writeOf('["one"]'), lease, { unlock: true });
      await one.close();
      expect(await two.lock(key, newLease())).toMatchObject({ data: '["one"]' });
    });
  });
}

async function lockOf(backend: SessionBackend, key: string, lease: { token: string; ms: number }) {
  const found = await backend.lock(key, lease);
  return found === 'busy' ? undefined : found;
}
