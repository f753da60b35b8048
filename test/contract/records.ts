import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, type TestContext } from 'vitest';
import type { SessionBackend, StoredRecord } from 'nest-sessions';
import type { BackendUnderTest } from './backends.js';
import { expire, newKey, newLease, LONG, times, TOLERANCE, useStorage, writeOf } from './fixtures.js';

/** What `SessionBackend` promises of a record beside its data, and of all records together. */
export function describeRecords({ name, open }: BackendUnderTest): void {
  describe(`invariant 7, one behaviour everywhere, records: ${name}`, () => {
    /** Two clients of the storage; what one does, the other sees. */
    let one: SessionBackend;
    let two: SessionBackend;
    let key: string;
    useStorage(open, clients => {
      [one, two] = clients;
      key = newKey();
    });

    it.each([true, false, undefined])('keeps whether its cookie is persistent: %s', async persistent => {
      const lease = newLease();
      await one.create(key, writeOf('1', { persistent: !persistent }), lease);
      expect((await two.read(key))?.persistent).toBe(!persistent);
      await one.save(key, writeOf('2', { persistent }), lease, { unlock: false });
      expect((await two.read(key))?.persistent).toBe(persistent);
      await one.save(key, writeOf('3', { persistent: true }), lease, { unlock: true });
      await two.touch(key, LONG);
      expect(await two.lock(key, newLease())).toMatchObject({ data: '3', persistent: true });
    });

    const usedAt = async () => (await two.read(key))!.lastUsedAt;
    const LEASE = newLease();
    const USES: [string, () => Promise<unknown>][] = [
      ['save', () => one.save(key, writeOf('2'), LEASE, { unlock: false })],
      ['save and unlock', () => one.save(key, writeOf('2'), LEASE, { unlock: true })],
      ['touch', () => two.touch(key, LONG)],
      ['unlock with a time to live', () => one.unlock(key, LEASE, LONG)],
    ];
    it.each(USES)('%s moves lastUsedAt', async (_, use) => {
      const begun = Date.now();
      await one.create(key, writeOf('1'), LEASE);
      const created = await usedAt();
      expect(Math.abs(created - begun)).toBeLessThan(TOLERANCE);
      await sleep(20);
      await use();
      expect((await usedAt()) - created).toBeGreaterThanOrEqual(10);
    });

    it('no other step moves lastUsedAt', async () => {
      await one.create(key, writeOf('1'));
      const created = await usedAt();
      await sleep(20);
      const lease = newLease();
      await one.lock(key, lease);
      await two.lock(key, newLease());
      await one.renew(key, lease);
      await one.unlock(key, lease);
      await one.create(key, writeOf('2'));
      expect(await usedAt()).toBe(created);
    });

    it('lists all records once, page by page, and no expired one', async context => {
      const backend = withList(two, context);
      const keys = times(25, () => newKey());
      for (const each of keys) {
        await one.create(each, writeOf(each, { owner: 'ann' }));
      }
      const expired = newKey();
      await one.create(expired, writeOf('old'));
      await expire(one, expired);
      await one.lock(keys[0]!, newLease());
      for (const limit of [1, 7, 25, 100]) {
        const pages: StoredRecord[][] = [];
        do {
          pages.push(await backend.list(pages.at(-1)?.at(-1)?.key, limit));
        } while (pages.at(-1)!.length === limit);
        expect(pages).toHaveLength(Math.floor(25 / limit) + 1);
        const found = pages.flat();
        expect(found.map(each => each.key).sort()).toEqual(keys.toSorted());
        expect(found.every(({ key: each, record }) => record.data === each)).toBe(true);
        expect(found[3]?.record).toEqual(await one.read(found[3]!.key));
      }
    });

    it('lists none where there is none', async context => {
      expect(await withList(one, context).list(undefined, 10)).toEqual([]);
      expect(await withList(one, context).list(key, 10)).toEqual([]);
    });
  });
}

function withList(
  backend: SessionBackend,
  context: TestContext,
): SessionBackend & Required<Pick<SessionBackend, 'list'>> {
  context.skip(!backend.list, 'a storage that cannot list');
  return backend as SessionBackend & Required<Pick<SessionBackend, 'list'>>;
}
