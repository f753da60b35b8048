import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, renameSync, statSync } from 'node:fs';
import { mkdtemp, readdir, rename, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';
import { SessionRuntime } from '../../lib/session/session-runtime.js';
import { SessionStore } from '../../lib/session/session-store.js';
import { FileBackend } from '../../lib/storage/file/file.backend.js';
import { FileLock, LockWatch } from '../../lib/storage/file/file-lock.js';
import { FileRecords } from '../../lib/storage/file/file-records.js';
import type { OwnerIndex } from '../../lib/storage/file/owner-index.js';
import { newKey, newLease, times, until, writeOf } from '../contract/fixtures.js';

let folder: string;
let backend: FileBackend;
let other: FileBackend;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
  [backend, other] = [new FileBackend(folder), new FileBackend(folder)];
  await backend.open();
  await other.open();
});
afterEach(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));

const pathOf = (key: string) => join(folder, key.slice(0, 2), `session-${key}`);
const storeOn = (storage: FileBackend) => {
  const options = resolveSessionOptions({});
  return new SessionStore(new SessionRuntime(options, { backend: storage }), {
    readIds: () => [],
    bind: () => '',
  });
};
const standStill = (ms: number) => {
  for (const end = performance.now() + ms; performance.now() < end;);
};

describe('invariant 1: what was acknowledged is what the next one reads, however long a step takes', () => {
  it.each([0, 5, 30, 100])('the process stands still for %i ms while a save is under way', async ms => {
    const store = storeOn(backend);
    const id = await store.create({ n: 0 });
    for (let n = 1; n < 20; n += 2) {
      await store.update(id, session => void session.set('n', n)); // read, and saved
      await store.update(id, async session => {
        session.set('n', n + 1);
        setImmediate(() => standStill(ms));
        await session.save(); // then unlocked, with a touch
      });
      expect((await store.get(id))!.data).toEqual({ n: n + 1 });
      await store.update(id, session => expect(session.get('n')).toBe(n + 1));
    }
  });

  it('the process stands still inside of a touch, while another takes the lapsed lock and saves', async () => {
    const key = newKey();
    await backend.create(key, writeOf('before'));
    const [lease, thief] = [newLease(20), newLease()];
    await backend.lock(key, lease);
    const { touch } = FileRecords.prototype;
    FileRecords.prototype.touch = function (...args) {
      FileRecords.prototype.touch = touch;
      standStill(30);
      return touch.apply(this, args);
    };
    const stolen = until(async () => (await other.lock(key, thief)) !== 'busy');
    await backend.unlock(key, lease, 60_000);
    await stolen;
    expect(await other.save(key, writeOf('after'), thief, { unlock: true })).toBe(true);
    expect((await backend.read(key))!.data).toBe('after');
    expect(await backend.lock(key, newLease())).toMatchObject({ data: 'after' });
  });
});

describe('invariant 2: a lock is moved by nobody but its holder and a thief', () => {
  const lockOf = (token: string) =>
    new FileLock(join(folder, 'lock'), join(folder, 'tmp', token), { token, ms: 1000 }, new LockWatch());

  it('a holder that gives back what it lost leaves the lock of the one that has it', async () => {
    const [holder, removal, late] = [lockOf('holder'), lockOf('removal-1'), lockOf('late')];
    await holder.claim();
    expect(await removal.claim(() => true)).toBe(true);
    holder.release();
    expect(await readdir(join(folder, 'lock'))).toEqual(['removal-1.1000']);
    expect(await late.claim()).toBe(false);
    expect(removal.renew()).toBe(true);
  });

  it('a removal that was left half-way is finished by who finds its lock lapsed', async () => {
    const key = newKey();
    await backend.create(key, writeOf('data', { owner: 'ann' }));
    const dead = { token: 'removal-dead', ms: 30 };
    const path = `${pathOf(key)}.lock`;
    expect(await new FileLock(path, join(folder, 'tmp', 'dead'), dead, new LockWatch()).claim()).toBe(true);
    await until(async () => (await other.lock(key, newLease())) !== 'busy');
    expect(await backend.read(key)).toBeUndefined();
    expect(await backend.lock(key, newLease())).toBeUndefined();
    expect(await readdir(join(folder, key.slice(0, 2)))).toEqual([]);
  });

  it.each(['with its lock', 'without'])(
    'a removal that died once the session was gone does not take the next one of the key, created %s',
    async how => {
      const key = newKey();
      const dead = { token: 'removal-dead', ms: 30 };
      const path = `${pathOf(key)}.lock`;
      await backend.create(key, writeOf('old'));
      const removal = new FileLock(path, join(folder, 'tmp', 'dead'), dead, new LockWatch());
      expect(await removal.claim()).toBe(true);
      await rename(pathOf(key), removal.inside('removed'));
      const lease = how === 'without' ? undefined : newLease();
      expect(await other.create(key, writeOf('new'), lease)).toBe(true);
      await sleep(60); // beyond the removal's time
      expect(await backend.lock(key, newLease())).toEqual(
        lease ? 'busy' : expect.objectContaining({ data: 'new' }),
      );
      expect((await backend.read(key))!.data).toBe('new');
    },
  );

  it('a removal by the holder that another removal robs half-way ends when the session is gone, not before', async () => {
    const key = newKey();
    await backend.create(key, writeOf('data'));
    const lease = newLease();
    await backend.lock(key, lease);
    const robber = new FileLock(
      `${pathOf(key)}.lock`,
      join(folder, 'tmp', 'robber'),
      { token: 'removal-robber', ms: 10_000 },
      new LockWatch(),
    );
    const { toRemoval } = FileLock.prototype;
    FileLock.prototype.toRemoval = function () {
      FileLock.prototype.toRemoval = toRemoval;
      const removal = toRemoval.call(this);
      renameSync(dirname(removal!.inside('file')), dirname(robber.inside('file')));
      return removal;
    };
    const ended = backend
      .delete(key, lease)
      .then(async removed => ({ removed, left: await other.read(key) }));
    await sleep(50);
    await rename(pathOf(key), robber.inside('removed'));
    robber.remove();
    expect(await ended).toEqual({ removed: false, left: undefined });
  });

  it('a lock stays with its session: what was in it is in no other, however often it changes hands', async () => {
    const keys = times(6, newKey);
    await Promise.all(keys.map(key => backend.create(key, writeOf('data'))));
    const inodesOf = () =>
      keys.map(key => statSync(`${pathOf(key)}.lock/free`, { throwIfNoEntry: false })?.ino);
    for (let round = 0; round < 10; round++) {
      const leases = keys.map(() => newLease());
      await Promise.all(keys.map((key, index) => backend.lock(key, leases[index]!)));
      await Promise.all(keys.map((key, index) => [backend, other][round % 2]!.unlock(key, leases[index]!)));
    }
    const before = inodesOf();
    const lease = newLease();
    await backend.lock(keys[0]!, lease);
    await backend.delete(keys[0]!, lease);
    await Promise.all(keys.slice(1).map(key => other.lock(key, newLease(1))));
    await until(async () => (await backend.lock(keys[1]!, newLease())) !== 'busy');
    await backend.delete(keys[1]!);
    expect(new Set(before).size).toBe(6);
    expect(inodesOf().slice(0, 2)).toEqual([undefined, undefined]);
    expect(await readdir(join(folder, keys[0]!.slice(0, 2)))).not.toContain(`session-${keys[0]}.lock`);
  });
});

it('invariant 10: a file that has had a name is never written to, nor published again', async () => {
  const keys = times(8, newKey);
  await Promise.all(keys.map(key => backend.create(key, writeOf(`first of ${key}`))));
  const files = keys.map(key => openSync(pathOf(key), 'r'));
  for (let round = 0; round < 20; round++) {
    for (const key of keys) {
      const lease = newLease();
      await backend.lock(key, lease);
      await backend.save(key, writeOf(`${round}`), lease, { unlock: true });
    }
    await sleep(3);
  }
  for (const [index, file] of files.entries()) {
    expect(readFileSync(file, 'utf8')).toContain(`first of ${keys[index]}`);
    closeSync(file);
  }
});

describe("invariant 9: a dead holder's lock lapses by a clock that nobody sets", () => {
  it.each([
    ['put back by a second', 1],
    ['put back by a day', 86_400],
  ])('after the clock was %s', async (_, seconds) => {
    const key = newKey();
    await backend.create(key, writeOf('data'));
    const dead = newLease(150);
    await backend.lock(key, dead);
    // To the clock of now, it was renewed in the future.
    const at = Date.now() / 1000 + seconds;
    await utimes(`${pathOf(key)}.lock/${dead.token}.${dead.ms}`, at, at);
    const startedAt = performance.now();
    await until(async () => (await other.lock(key, newLease())) !== 'busy');
    const waited = performance.now() - startedAt;
    expect(waited).toBeGreaterThanOrEqual(150);
    expect(waited).toBeLessThan(1_000);
  });

  it('a holder that lives renews it, and keeps it', async () => {
    const key = newKey();
    await backend.create(key, writeOf('data'));
    const lease = newLease(150);
    await backend.lock(key, lease);
    for (let renewals = 0; renewals < 10; renewals++) {
      await sleep(40);
      expect(await other.lock(key, newLease())).toBe('busy');
      expect(await backend.renew(key, lease)).toBe(true);
    }
  });
});

it('invariant 12: destroyByOwner follows a session that gets a new key at each look', async () => {
  const [a, b, c] = [newKey(), newKey(), newKey()];
  const move = async (from: string, to: string) => {
    await other.create(to, writeOf('{}', { owner: 'ann' }));
    await other.delete(from);
  };
  await other.create(a, writeOf('{}', { owner: 'ann' }));
  const { hints } = backend as unknown as { hints: OwnerIndex };
  await hints.add('ann', b); // its record is still to come
  const { hintsOf } = hints;
  hints.hintsOf = async owner =>
    (await hintsOf.call(hints, owner)).toSorted(({ key }) => (key === b ? -1 : 1));
  const read = backend.read.bind(backend);
  let reads = 0;
  backend.read = async key => {
    reads++;
    if (reads === 2) {
      await move(a, b); // between the first round's look at b and the one at a
    } else if (reads === 3) {
      await move(b, c); // as the second round begins
    }
    return read(key);
  };
  expect(await backend.deleteByOwner('ann')).toBe(1);
  expect(await other.findByOwner('ann')).toEqual([]);
});

describe('what is done to the folder while the application runs', () => {
  it('emptied, on the file system that it was on: made anew; those sessions are gone, and new ones are kept', async () => {
    const [key, fresh] = [newKey(), newKey()];
    await backend.create(key, writeOf('data'));
    for (const call of [
      () => backend.read(key),
      () => backend.lock(key, newLease()),
      () => backend.touch(key, 1000),
      () => backend.delete(key),
      () => backend.count(),
      () => backend.cleanUp(),
      () => backend.deleteByOwner('ann'),
    ]) {
      await Promise.all((await readdir(folder)).map(name => rm(join(folder, name), { recursive: true })));
      expect((await call()) || undefined).toBeUndefined();
    }
    await Promise.all((await readdir(folder)).map(name => rm(join(folder, name), { recursive: true })));
    expect(await backend.create(fresh, writeOf('new', { owner: 'ann' }), newLease())).toBe(true);
    expect((await backend.read(fresh))!.data).toBe('new');
  });

  it('a pipe in the place of a file is no session, and hangs nobody', async () => {
    const key = newKey();
    await backend.create(key, writeOf('data'));
    await rm(pathOf(key));
    execFileSync('mkfifo', [pathOf(key)]);
    const soon = Date.now() / 1000 + 1000;
    await utimes(pathOf(key), soon, soon);
    expect(await backend.read(key)).toBeUndefined();
    expect(await backend.lock(key, newLease())).toBeUndefined();
    expect(await readdir(join(folder, 'damaged'))).toEqual([`session-${key}`]);
  });
});
