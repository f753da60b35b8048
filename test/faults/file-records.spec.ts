import { link, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';
import { SessionRuntime } from '../../lib/session/session-runtime.js';
import { SessionStore } from '../../lib/session/session-store.js';
import { FileBackend } from '../../lib/storage/file/file.backend.js';
import { formatSessionFile, parseSessionFile } from '../../lib/storage/file/session-file.js';
import type { SessionRecord } from '../../lib/storage/session-backend.js';
import { newKey, newLease, times, writeOf } from '../contract/fixtures.js';
import { bodyOf } from '../programs/session-body.js';
import { inLong } from '../support/long.js';
import { startProgram } from '../support/programs.js';

const READS = inLong(60_000, 4_000);
const SAVES = inLong(20_000, 3_000);
const WRITERS = 2;
/** Characters: so few that a file is soon replaced, and replaced again. */
const BODY = 1000;

let folder: string;
let backend: FileBackend;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
  backend = new FileBackend(folder);
  await backend.open();
});
afterEach(async () => {
  await backend.close();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

/** Locks, and saves. */
async function save(key: string, data: string): Promise<void> {
  const lease = newLease();
  await backend.lock(key, lease);
  expect(await backend.save(key, writeOf(data), lease, { unlock: true })).toBe(true);
}

const TIMES = { expiresAt: 1, lastUsedAt: 0 };

describe('a file that has a name is never written to', () => {
  it(`who reads without a lock sees whole records of the session meant, ${READS} times under ${WRITERS} writers`, async () => {
    const options = resolveSessionOptions({});
    const store = new SessionStore(new SessionRuntime(options, { backend }), {
      readIds: () => [],
      bind: () => '',
    });
    const names = times(6, index => `session ${index}`);
    const ids = await Promise.all(
      names.map(name => store.create({ name, version: 0, body: bodyOf(0, BODY) })),
    );
    const writers = await Promise.all(
      times(WRITERS, index =>
        startProgram('writer', {
          STORAGE_PATH: folder,
          LEASE_TIME: '1',
          BODY: String(BODY),
          IDS: ids.filter((_, id) => id % WRITERS === index).join(),
        }),
      ),
    );
    await Promise.all(writers.map(writer => writer.waitForLine(/^ready$/)));
    writers.forEach(writer => writer.process.stdin!.write('go\n'));

    const versions = ids.map(() => 0);
    for (let read = 0; read < READS; read++) {
      const index = read % ids.length;
      const data = (await store.get(ids[index]!))?.data;
      expect(data?.name).toBe(names[index]);
      expect(data!.body === bodyOf(data!.version, BODY), 'the session is whole').toBe(true);
      expect(data!.version).toBeGreaterThanOrEqual(versions[index]!);
      versions[index] = data!.version;
      if (read % 20 === 0) {
        await nextTurn(); // the writers' lines are to be read, or they wait
      }
    }
    await Promise.all(writers.map(writer => writer.kill()));
    expect(Math.min(...versions)).toBeGreaterThan(10);
    expect(await readdir(folder)).not.toContain('damaged');
  }, 300_000);

  it('a file of another session is none, whatever its name', () => {
    const [key, other] = [newKey(), newKey()];
    const content = formatSessionFile({ key, createdAt: 1 }, 'data');
    expect(parseSessionFile(content, key, TIMES)).toMatchObject({ data: 'data', ...TIMES });
    expect(parseSessionFile(content, other, TIMES)).toBeUndefined();
  });

  it('any byte that differs shows', () => {
    const key = newKey();
    const content = formatSessionFile({ key, createdAt: 1, owner: 'ann', timeout: 7 }, 'data');
    for (let index = 0; index < content.length; index++) {
      const torn = Buffer.from(content);
      torn[index]! ^= 1;
      expect(parseSessionFile(torn, key, TIMES)).toBeUndefined();
      expect(parseSessionFile(content.subarray(0, index), key, TIMES)).toBeUndefined();
    }
  });

  it('a second name that someone has given a file, as backups do, keeps its content', async () => {
    const [first, second] = [newKey(), newKey()];
    await backend.create(first, writeOf('first'));
    await backend.create(second, writeOf('second'));
    const file = join(folder, first.slice(0, 2), `session-${first}`);
    await link(file, join(folder, 'backup'));
    const content = await readFile(file);
    for (let round = 0; round < 5; round++) {
      await save(first, `first, ${round}`);
      await save(second, `second, ${round}`);
    }
    expect(await readFile(join(folder, 'backup'))).toEqual(content);
    expect((await backend.read(first))!.data).toBe('first, 4');
    expect((await backend.read(second))!.data).toBe('second, 4');
  });

  it('shorter and longer records, of one session after the other, come back as they were saved', async () => {
    const keys = times(4, newKey);
    await Promise.all(keys.map(key => backend.create(key, writeOf(''))));
    for (let round = 0; round < 60; round++) {
      const data = 'é'.repeat((round * 7919) % 5000);
      await save(keys[round % 4]!, data);
      expect((await backend.read(keys[round % 4]!))!.data).toBe(data);
    }
  });
});

describe('nothing of what files said is remembered', () => {
  /** Another process, as far as files go. */
  let other: FileBackend;
  beforeEach(async () => {
    other = new FileBackend(folder);
    await other.open();
  });
  afterEach(() => other.close());
  const pathOf = (key: string) => join(folder, key.slice(0, 2), `session-${key}`);

  it(`no lost update: ${SAVES} saves in turn of two processes, of one length and lifetime, each build on the one before`, async () => {
    const key = newKey();
    await backend.create(key, writeOf('000000'));
    for (let count = 0; count < SAVES;) {
      // Once in three times the other saves again before its turn ends, and has files to write anew.
      const client = count % 2 === 0 ? backend : other;
      for (let turn = count % 3 === 0 ? 2 : 1; turn > 0; turn--, count++) {
        const lease = newLease();
        const record = (await client.lock(key, lease)) as SessionRecord;
        expect(Number(record.data)).toBe(count);
        const write = writeOf(String(count + 1).padStart(6, '0'));
        expect(await client.save(key, write, lease, { unlock: true })).toBe(true);
      }
    }
    expect((await backend.read(key))!.data).toBe((await other.read(key))!.data);
  });

  it('what another process has touched expires when that one says', async () => {
    const key = newKey();
    await backend.create(key, writeOf('data'));
    await backend.read(key);
    await other.touch(key, 1_000_000);
    expect((await backend.read(key))!.expiresAt).toBe((await other.read(key))!.expiresAt);
    await other.touch(key, 1);
    while ((await other.read(key)) !== undefined);
    expect(await backend.read(key)).toBeUndefined();
    expect(await backend.lock(key, newLease())).toBeUndefined();
  });

  it('no resurrection: what another process lets expire under the lock is neither saved nor touched', async () => {
    for (const end of ['save', 'unlock'] as const) {
      const key = newKey();
      await backend.create(key, writeOf('data'));
      const lease = newLease();
      await backend.lock(key, lease);
      await other.touch(key, 1);
      while ((await other.read(key)) !== undefined);
      if (end === 'save') {
        expect(await backend.save(key, writeOf('more'), lease, { unlock: true })).toBe(false);
      } else {
        await backend.unlock(key, lease, 1_000_000);
      }
      expect(await other.read(key)).toBeUndefined();
    }
  });

  it('what a process has touched itself it reads with the new expiry, under the lock and without', async () => {
    const key = newKey();
    await backend.create(key, writeOf('data'));
    const lease = newLease();
    await backend.lock(key, lease);
    await backend.unlock(key, lease, 1_000_000);
    const record = (await backend.read(key))!;
    expect(record).toEqual(await other.read(key));
    expect(record.expiresAt - Date.now()).toBeGreaterThan(990_000);
  });

  it('a file that a hand has changed, and given its size and time back, is read', async () => {
    const key = newKey();
    await backend.create(key, writeOf('data'));
    const { createdAt } = (await backend.read(key))!;
    const { mtime } = await stat(pathOf(key));
    await writeFile(pathOf(key), formatSessionFile({ key, createdAt }, 'atad'), { flag: 'r+' });
    await utimes(pathOf(key), mtime, mtime);
    expect((await backend.read(key))!.data).toBe('atad');
  });

  it('a file that is gone is no session, however well it is known', async () => {
    const key = newKey();
    await backend.create(key, writeOf('data'));
    await save(key, 'more');
    const lease = newLease();
    await backend.lock(key, lease);
    await rm(pathOf(key));
    await backend.unlock(key, lease, 1_000_000);
    expect(await backend.read(key)).toBeUndefined();
    expect(await backend.lock(key, newLease())).toBeUndefined();
  });

  it('storage trouble is not absence: a storage that is gone fails the save of a session that is known', async () => {
    const key = newKey();
    await backend.create(key, writeOf('data'));
    const lease = newLease();
    await backend.lock(key, lease);
    await rm(folder, { recursive: true });
    await expect(backend.save(key, writeOf('more'), lease, { unlock: true })).rejects.toThrow('ENOENT');
  });

  it("what is read is one's own: to change it changes nothing that is known", async () => {
    const key = newKey();
    await backend.create(key, writeOf('data'));
    (await backend.read(key))!.data = 'changed';
    (await backend.read(key))!.data = 'changed';
    expect((await backend.read(key))!.data).toBe('data');
  });
});

const nextTick = () => new Promise<void>(resolve => process.nextTick(resolve));

describe('a lock that is given back is gone', () => {
  it('with what was in it: 300 saves that nobody waited for stored all or nothing, and left nothing', async () => {
    for (let round = 0; round < 300; round++) {
      const key = newKey();
      await backend.create(key, writeOf('before'));
      const lease = newLease();
      await backend.lock(key, lease);
      const saving = backend.save(key, writeOf('after'), lease, { unlock: false });
      await nextTick(); // now it waits for the rename
      if (round % 2 === 0) {
        void backend.renew(key, lease);
      }
      await backend.unlock(key, lease);
      const saved = await saving;
      expect((await backend.read(key))!.data).toBe(saved ? 'after' : 'before');
      for (const entry of await readdir(join(folder, 'tmp'), { recursive: true, withFileTypes: true })) {
        expect(entry.name).toBe('nothing');
      }
    }
  });

  it('with the lease that held it: one that holds another session gives nothing back, and moves no expiry', async () => {
    const [key, another] = [newKey(), newKey()];
    await backend.create(key, writeOf('data'));
    await backend.create(another, writeOf('data'));
    const { expiresAt } = (await backend.read(another))!;
    const [lease, holder] = [newLease(), newLease()];
    await backend.lock(key, lease);
    await backend.lock(another, holder);
    await backend.unlock(another, lease, 1_000_000);
    expect((await backend.read(another))!.expiresAt).toBe(expiresAt);
    expect(await backend.lock(another, newLease())).toBe('busy');
    expect(await backend.save(another, writeOf('saved'), holder, { unlock: true })).toBe(true);
  });
});
