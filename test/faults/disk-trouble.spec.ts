import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ADAPTERS, type AdapterName } from '../support/app.js';
import { Client, type Answer } from '../support/client.js';
import { DISK_TROUBLES, giveToServer, type DiskTrouble } from '../support/disk-troubles.js';
import { inLong } from '../support/long.js';
import { startServer } from '../support/programs.js';
import { until } from '../support/until.js';

let root: string;
let path: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
  await chmod(root, 0o711); // for a server that is another user
  path = join(root, 'sessions');
  await mkdir(path);
});
afterEach(() => rm(root, { recursive: true, force: true }));

function expectUnavailable(answer: Answer): void {
  expect(answer.status).toBe(503);
  expect(answer.headers['retry-after']).toBe('1');
  expect(answer.setCookies).toEqual([]);
}

async function survive(trouble: DiskTrouble, adapter: AdapterName): Promise<void> {
  const { program, url } = await startServer('counter-server', {
    ADAPTER: adapter,
    STORAGE_PATH: path,
    SESSION_OPTIONS: JSON.stringify({ leaseTime: 1 }),
    WORK_MS: '200',
    ...(trouble.unprivileged && { UNPRIVILEGED: 'yes' }),
  });
  if (trouble.unprivileged) {
    await giveToServer(path);
    await giveToServer(join(path, 'tmp'));
  }
  const disk = { path, pid: program.process.pid! };
  const client = new Client(url);
  await client.get('/count');
  expect((await client.get('/count')).json()).toEqual({ count: 2 });
  const cookie = await client.cookie();

  const inFlight = client.get('/count');
  await until(() => program.count('working') === 3);
  await trouble.begin(disk);
  expectUnavailable(await inFlight);
  expectUnavailable(await client.get('/count'));
  const read = await client.get('/read');
  if (trouble.canRead) {
    expect(read.json()).toEqual({ count: 2, isNew: false });
  } else {
    expectUnavailable(read);
    expectUnavailable(await client.get('/destroy'));
  }
  const newcomer = new Client(url);
  expectUnavailable(await newcomer.get('/count'));
  expect((await client.get('/plain')).json()).toEqual({ plain: true });
  expect(await client.cookie()).toBe(cookie);
  expect(program.stderr).toMatch(/ERROR.*The session storage failed to \w+: E[A-Z]+: /);

  await trouble.end(disk);
  expect((await client.get('/count')).json()).toEqual({ count: 3 });
  expect((await client.get('/read')).json()).toEqual({ count: 3, isNew: false });
  expect(await client.cookie()).toBe(cookie);
  expect((await newcomer.get('/count')).json()).toEqual({ count: 1 });
  expect((await newcomer.get('/read')).json()).toEqual({ count: 1, isNew: false });
  expect((await client.get('/destroy')).status).toBe(200);

  client.close();
  newcomer.close();
  expect(await program.kill('SIGTERM')).toEqual({ code: 0, signal: null });
}

describe.each(ADAPTERS)('invariant 4, storage trouble is not absence: file, %s', adapter => {
  // In `npm test`, each trouble on one of them.
  const inTurn = DISK_TROUBLES.filter((_, index) => ADAPTERS[index % 2] === adapter);
  for (const trouble of inLong(DISK_TROUBLES, inTurn)) {
    it(`${trouble.name}: 503, and the session is there afterwards`, async ({ skip }) => {
      skip(Boolean(trouble.impossible), String(trouble.impossible));
      trouble.prepare?.(path);
      try {
        await survive(trouble, adapter);
      } finally {
        trouble.undo?.(path);
      }
    });
  }
});
