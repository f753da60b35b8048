import { setTimeout as sleep } from 'node:timers/promises';
import assert from 'node:assert/strict';
import type { Lease, StoredRecord } from '../storage/session-backend.js';
import { atLeast, below, includes, same } from './assertions.js';
import { expire, lockOnceFreed, newKey, newLease, LONG, times, TOLERANCE, writeOf } from './fixtures.js';
import type { Subject, Suite } from './suite.js';

/** What `SessionBackend` promises of a record beside its data, and of all records together. */
export function describeRecords({ name, describe, it, needing }: Suite): void {
  const itLists = needing('list');

  describe(`invariant 7, one behaviour everywhere, records: ${name}`, () => {
    for (const persistent of [true, false, undefined]) {
      it(`keeps whether its cookie is persistent: ${persistent}`, async ({ one, two, key }) => {
        const lease = newLease();
        await one.create(key, writeOf('1', { persistent: !persistent }), lease);
        assert.equal((await two.read(key))?.persistent, !persistent);
        await one.save(key, writeOf('2', { persistent }), lease, { unlock: false });
        assert.equal((await two.read(key))?.persistent, persistent);
        await one.save(key, writeOf('3', { persistent: true }), lease, { unlock: true });
        await two.touch(key, LONG);
        includes(await lockOnceFreed(two, key), { data: '3', persistent: true });
      });
    }

    const usedAt = async ({ two, key }: Subject) => (await two.read(key))!.lastUsedAt;
    const USES: [string, (subject: Subject, lease: Lease) => Promise<unknown>][] = [
      ['save', ({ one, key }, lease) => one.save(key, writeOf('2'), lease, { unlock: false })],
      ['save and unlock', ({ one, key }, lease) => one.save(key, writeOf('2'), lease, { unlock: true })],
      ['touch', ({ two, key }) => two.touch(key, LONG)],
      ['unlock with a time to live', ({ one, key }, lease) => one.unlock(key, lease, LONG)],
    ];
    for (const [title, use] of USES) {
      it(`${title} moves lastUsedAt`, async subject => {
        const lease = newLease();
        const begun = Date.now();
        await subject.one.create(subject.key, writeOf('1'), lease);
        const created = await usedAt(subject);
        below(Math.abs(created - begun), TOLERANCE);
        await sleep(20);
        await use(subject, lease);
        atLeast((await usedAt(subject)) - created, 10);
      });
    }

    it('no other step moves lastUsedAt', async subject => {
      const { one, two, key } = subject;
      await one.create(key, writeOf('1'));
      const created = await usedAt(subject);
      await sleep(20);
      const lease = newLease();
      await one.lock(key, lease);
      await two.lock(key, newLease());
      await one.renew(key, lease);
      await one.unlock(key, lease);
      await one.create(key, writeOf('2'));
      assert.equal(await usedAt(subject), created);
    });

    itLists('lists all records once, page by page, and no expired one', async ({ one, two }) => {
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
          pages.push(await two.list(pages.at(-1)?.at(-1)?.key, limit));
        } while (pages.at(-1)!.length === limit && pages.length <= keys.length);
        assert.equal(pages.length, Math.floor(25 / limit) + 1);
        const found = pages.flat();
        same(found.map(each => each.key).sort(), keys.toSorted());
        assert.equal(
          found.every(({ key: each, record }) => record.data === each),
          true,
        );
        same(found[3]?.record, await one.read(found[3]!.key));
      }
    });

    itLists('lists none where there is none', async ({ one, key }) => {
      same(await one.list(undefined, 10), []);
      same(await one.list(key, 10), []);
    });
  });
}
