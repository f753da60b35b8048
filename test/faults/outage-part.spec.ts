import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { expectHonest, expectKept, LoadClient } from '../support/outage-load.js';
import { startServer } from '../support/programs.js';
import { startMemcachedServer, startPostgresqlServer, type TestServer } from '../support/servers.js';
import { isTested } from '../support/storage-names.js';

const CLEAN_EXIT = { code: 0, signal: null };
const BACK_WITHIN = 2000;

const servers: TestServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map(server => server.close()));
});

describe.runIf(isTested('memcached'))('one of two memcached servers', () => {
  /** Counts in all sessions, again and again, until the task is done. */
  async function during<T>(clients: LoadClient[], task: () => Promise<T>): Promise<T> {
    const load = { isOver: false };
    const loads = clients.map(async client => {
      while (!load.isOver) {
        await client.count();
        await sleep(10);
      }
    });
    try {
      return await task();
    } finally {
      load.isOver = true;
      await Promise.all(loads);
    }
  }

  it('dies and hangs: the sessions of the other go on without one failure', async () => {
    const [one, two] = await Promise.all([startMemcachedServer(), startMemcachedServer()]);
    servers.push(one, two);
    const options = { storageType: 'memcached', servers: [one.address, two.address], storageTimeout: 1 };
    const { program, url } = await startServer('outage-server', { SESSION_OPTIONS: JSON.stringify(options) });
    const clients = Array.from({ length: 24 }, () => new LoadClient(url));
    await Promise.all(clients.map(client => client.count()));
    const onOne = await Promise.all(clients.map(client => isStored(one.port, client)));
    const safe = clients.filter((_, index) => onOne[index]);
    const hit = clients.filter((_, index) => !onOne[index]);
    expect(Math.min(safe.length, hit.length)).toBeGreaterThan(0);

    await during(clients, async () => {
      await sleep(300);
      await two.signal('SIGSTOP');
      await sleep(2500);
      await two.signal('SIGCONT');
      await allSucceed(hit);
      await two.kill();
      await sleep(300);
      await two.start();
      await allSucceed(hit);
    });
    expect(new Set(safe.flatMap(({ seen }) => seen).map(({ status }) => status))).toEqual(new Set([200]));
    for (const client of safe) {
      expectKept([client], client.seen.length);
    }
    expectHonest(
      hit.flatMap(({ seen }) => seen),
      [200, 409, 503],
    );
    expect(hit.flatMap(({ seen }) => seen).map(({ status }) => status)).toContain(503);
    clients.forEach(client => client.close());
    expect(await program.kill('SIGTERM')).toEqual(CLEAN_EXIT);
  });

  async function allSucceed(clients: LoadClient[]): Promise<void> {
    const from = Date.now();
    const isBack = () => clients.every(({ successes }) => successes.some(({ sentAt }) => sentAt >= from));
    await expect.poll(isBack, { timeout: BACK_WITHIN, interval: 10 }).toBe(true);
  }
});

/** Whether this server holds the client's session. */
async function isStored(port: number, client: LoadClient): Promise<boolean> {
  const key = createHash('sha256')
    .update((await client.cookie())!)
    .digest('base64url');
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(`get session:${key}\r\n`));
    socket.on('error', reject);
    socket.once('data', data => {
      socket.destroy();
      resolve(data.toString().startsWith('VALUE'));
    });
  });
}

it("the application's own DataSource: PostgreSQL dies and hangs, behind idle connections and under work", async ({
  skip,
}) => {
  skip(!isTested('postgresql'));
  const postgresql = await startPostgresqlServer();
  servers.push(postgresql);
  const { program, url } = await startServer('outage-server', {
    SESSION_OPTIONS: JSON.stringify({ storageTimeout: 1 }),
    DATA_SOURCE: postgresql.url,
  });
  const clients = Array.from({ length: 15 }, () => new LoadClient(url));
  const countAll = async () => {
    const answers = await Promise.all(clients.map(client => client.count()));
    return new Set(answers.map(({ status }) => status));
  };
  const back = () => expect.poll(countAll, { timeout: BACK_WITHIN }).toEqual(new Set([200]));
  expect(await countAll()).toEqual(new Set([200]));

  await postgresql.kill(); // while its connections are idle
  expect(await countAll()).toEqual(new Set([503]));
  await postgresql.start();
  await back();
  await postgresql.signal('SIGSTOP');
  for (let time = 0; time < 3; time++) {
    expect(await countAll()).toEqual(new Set([503])); // more than the pool has connections
  }
  await postgresql.signal('SIGCONT');
  await back();
  const working = clients.map(client => client.count(300));
  await sleep(100);
  await postgresql.kill();
  await Promise.all(working);
  await postgresql.start();
  await back();

  for (const client of clients) {
    expectHonest(client.seen, [200, 503]);
    expectKept([client], (await client.get('/read')).json().count);
    client.close();
  }
  expect(program.process.exitCode).toBeNull();
  expect(program.stderr).not.toMatch(/[Uu]ncaught|[Uu]nhandled/);
  // The DataSource is the application's to close, and keeps it up.
  const closed = program.kill('SIGTERM');
  await program.waitForLine(/^closed$/);
  await program.kill();
  await closed;
});
