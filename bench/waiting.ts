import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lease, SessionBackend, SessionModuleOptions } from 'nest-sessions';
import { sessionKey } from '../lib/session/session-id.js';
import { openBackendOf } from '../test/support/open-backend.js';
import { seededId } from '../test/support/seed-sessions.js';
import { startMemcachedServer, startPostgresqlServer } from '../test/support/servers.js';
import { median } from './median.js';
import { Table } from './results.js';

/**
 * What sessions that wait for locks of another process cost the other users of their process: 1,000 requests that wait,
 * beside 10 users who change their own sessions, and 5 clients of a route without a session; with and without those that
 * wait, in turns. `npm run bench:waiting`; WAITING, TURNS, TURN_SECONDS and STORAGES change the numbers.
 */
const WAITING = Number(process.env.WAITING ?? 1000);
const TURNS = Number(process.env.TURNS ?? 5);
const TURN_SECONDS = Number(process.env.TURN_SECONDS ?? 4);
const STORAGES = (process.env.STORAGES ?? 'file,postgresql,memcached').split(',');
const USERS = 10;
const PLAIN = 5;
/** Milliseconds between two requests of a client. */
const THINK = 25;
const DAY = 24 * 3_600_000;

interface Storage {
  options: SessionModuleOptions;
  close(): Promise<void>;
}

interface Turn {
  users: number[];
  plain: number[];
  triesASecond: number;
}

const kept = Array.from({ length: WAITING }, (_, index) => seededId(index));
const own = Array.from({ length: USERS }, (_, index) => seededId(WAITING + index));

async function openStorage(name: string): Promise<Storage> {
  if (name === 'postgresql') {
    const server = await startPostgresqlServer();
    return { options: { storageType: name, url: server.url }, close: () => server.close() };
  }
  if (name === 'memcached') {
    const server = await startMemcachedServer();
    return { options: { storageType: name, servers: server.address }, close: () => server.close() };
  }
  const storagePath = await mkdtemp(join(tmpdir(), 'nest-sessions-bench-'));
  return {
    options: { storageType: 'file', storagePath },
    close: () => rm(storagePath, { recursive: true, force: true }),
  };
}

function request(
  url: string,
  id: string | undefined,
  agent: Agent | undefined,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const headers = id === undefined ? {} : { cookie: `session_id=${id}` };
    get(url, { agent: agent ?? false, headers }, response => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => (body += text));
      response.on('end', () => resolve({ status: response.statusCode!, body }));
    }).on('error', reject);
  });
}

async function ok(url: string, id?: string, agent?: Agent): Promise<string> {
  const { status, body } = await request(url, id, agent);
  if (status !== 200) {
    throw new Error(`${url} answered ${status}: ${body}`);
  }
  return body;
}

/** Clients that ask one after the other. @returns how long each request took, in milliseconds */
async function load(url: string, ids: (string | undefined)[], end: number): Promise<number[]> {
  const taken: number[] = [];
  const agent = new Agent({ keepAlive: true });
  await Promise.all(
    ids.map(async id => {
      while (performance.now() < end) {
        const startedAt = performance.now();
        await ok(url, id, agent);
        taken.push(performance.now() - startedAt);
        await sleep(THINK * (0.5 + Math.random()));
      }
    }),
  );
  agent.destroy();
  return taken;
}

async function measure(url: string): Promise<Turn> {
  const triesNow = async () => JSON.parse(await ok(`${url}/tries`)).tries as number;
  const before = await triesNow();
  const startedAt = performance.now();
  const end = startedAt + TURN_SECONDS * 1000;
  const plainIds = Array.from({ length: PLAIN }, () => undefined);
  const [users, plain] = await Promise.all([
    load(`${url}/write`, own, end),
    load(`${url}/plain`, plainIds, end),
  ]);
  const seconds = (performance.now() - startedAt) / 1000;
  return { users, plain, triesASecond: ((await triesNow()) - before - users.length) / seconds };
}

/** Each in its turn, so that no request of them waits for a connection. */
async function inParts<T>(items: T[], work: (item: T) => Promise<unknown>): Promise<void> {
  for (let from = 0; from < items.length; from += 50) {
    await Promise.all(items.slice(from, from + 50).map(work));
  }
}

async function withWaiting(url: string, backend: SessionBackend): Promise<Turn & { freedIn: number }> {
  const leases = new Map<string, Lease>();
  await inParts(kept, async id => {
    const lease = { token: `held-${id}`, ms: DAY };
    leases.set(id, lease);
    if (typeof (await backend.lock(sessionKey(id), lease)) !== 'object') {
      throw new Error('A session that is to be waited for cannot be locked');
    }
  });
  const waiting = Promise.all(kept.map(id => ok(`${url}/write`, id)));
  await sleep(3000);
  const turn = await measure(url);
  const freedAt = performance.now();
  await inParts(kept, id => backend.unlock(sessionKey(id), leases.get(id)!));
  await waiting;
  return { ...turn, freedIn: (performance.now() - freedAt) / 1000 };
}

const p95 = (values: number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length * 0.95)] ?? NaN;

async function run(name: string, table: Table): Promise<void> {
  const storage = await openStorage(name);
  const backend = await openBackendOf(storage.options);
  await inParts([...kept, ...own], id => backend.create(sessionKey(id), { data: '{"count":0}', ttl: DAY }));
  const server = fork(
    new URL('waiting-server.js', import.meta.url).pathname,
    [JSON.stringify({ ...storage.options, lockTimeout: 600 })],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  );
  const [port] = await once(server, 'message');
  const url = `http://127.0.0.1:${port}`;
  await measure(url); // warms up
  const [without, beside]: [Turn[], (Turn & { freedIn: number })[]] = [[], []];
  for (let turn = 0; turn < TURNS; turn++) {
    without.push(await measure(url));
    beside.push(await withWaiting(url, backend));
  }
  for (const who of ['users', 'plain'] as const) {
    const [alone, together] = [without, beside].map(turns => turns.map(turn => p95(turn[who])));
    const ratios = together!.map((value, index) => value / alone![index]!);
    table.add(
      name,
      who === 'users' ? 'users of other sessions' : 'a route without a session',
      `${median(alone!).toFixed(1)} ms`,
      `${median(together!).toFixed(1)} ms`,
      median(ratios).toFixed(2),
      median(beside.map(({ triesASecond }) => triesASecond)).toFixed(0),
      `${median(beside.map(({ freedIn }) => freedIn)).toFixed(1)} s`,
    );
  }
  server.kill('SIGKILL');
  await backend.close();
  await storage.close();
}

const table = new Table(`${WAITING} sessions wait for locks of another process`);
table.add('storage', 'who', 'p95 without', 'p95 beside', 'ratio', 'tries a second', 'all served in');
for (const name of STORAGES) {
  await run(name, table);
}
table.end();
