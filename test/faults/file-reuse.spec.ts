import { link, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';
import { SessionManager } from '../../lib/session/session-manager.js';
import { SessionStore } from '../../lib/session/session-store.js';
import { FileBackend } from '../../lib/storage/file/file.backend.js';
import { formatSessionFile, parseSessionFile } from '../../lib/storage/file/session-file.js';
import { newKey, newLease, times, writeOf } from '../contract/fixtures.js';
import { bodyOf } from '../programs/session-body.js';
import { inLong } from '../support/long.js';
import { startProgram } from '../support/programs.js';

const READS = inLong(60_000, 10_000);
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

describe('files of replaced records are written anew', () => {
  it(`who reads without a lock sees whole records of the session meant, ${READS} times under ${WRITERS} writers`, async () => {
    const options = resolveSessionOptions({ storageType: 'file', storagePath: folder });
    const store = new SessionStore(new SessionManager(options, backend), { readId: () => undefined });
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
    const content = formatSessionFile(key, writeOf('data'));
    expect(parseSessionFile(content, key, 1)).toMatchObject({ data: 'data', expiresAt: 1 });
    expect(parseSessionFile(content, other, 1)).toBeUndefined();
  });

  it('any byte that differs shows', () => {
    const key = newKey();
    const content = formatSessionFile(key, writeOf('data', { owner: 'ann', timeout: 7 }));
    for (let index = 0; index < content.length; index++) {
      const torn = Buffer.from(content);
      torn[index]! ^= 1;
      expect(parseSessionFile(torn, key, 1)).toBeUndefined();
      expect(parseSessionFile(content.subarray(0, index), key, 1)).toBeUndefined();
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

  it('no more files are kept than saves go on at a time; none stays when the storage is closed', async () => {
    const keys = times(30, newKey);
    await Promise.all(keys.map(key => backend.create(key, writeOf('0'))));
    for (const round of ['1', '2', '3']) {
      await Promise.all(keys.map(key => save(key, round)));
    }
    const kept = (await readdir(join(folder, 'tmp'))).filter(name => name.includes('-file-'));
    expect(kept.length).toBeGreaterThan(0);
    expect(kept.length).toBeLessThanOrEqual(16);
    await backend.close();
    expect(await readdir(join(folder, 'tmp'))).toEqual([]);
  });

  it('a sweep, or a hand, that takes the kept files away does no harm', async () => {
    const key = newKey();
    await backend.create(key, writeOf('0'));
    for (const data of ['1', '2', '3']) {
      await save(key, data);
      const tmp = join(folder, 'tmp');
      const kept = (await readdir(tmp)).filter(name => name.includes('-file-'));
      await Promise.all(kept.map(name => rm(join(tmp, name))));
      expect((await backend.read(key))!.data).toBe(data);
    }
  });
});
