import { randomInt } from 'node:crypto';
import { Client } from 'pg';
import { SessionRuntime } from '../lib/session/session-runtime.js';
import { SessionStore } from '../lib/session/session-store.js';
import { resolveSessionOptions } from '../lib/options/resolve-options.js';
import { seededId, seedSessions } from '../test/support/seed-sessions.js';
import { startPostgresqlServer } from '../test/support/servers.js';
import { openBackendOf } from '../test/support/open-backend.js';

/**
 * What a sweep costs the requests beside it: 1,000,000 sessions, every other one expired, and 20 clients that change
 * random sessions, one lock and one save each, before the sweep and while it runs.
 * `npm run bench:sweep`; SESSIONS and CLIENTS change the numbers.
 */
const SESSIONS = Number(process.env.SESSIONS ?? 1_000_000);
const CLIENTS = Number(process.env.CLIENTS ?? 20);
const TABLE = 'nest_sessions';
/** Seconds of load before the sweep that count, after some that do not. */
const BEFORE = 20;
const WARM_UP = 5;

async function main(): Promise<void> {
  // As it is installed: fsync, synchronous_commit and autovacuum are on.
  const server = await startPostgresqlServer();
  const backend = await openBackendOf({ storageType: 'postgresql', url: server.url, tableName: TABLE });
  const manager = new SessionRuntime(resolveSessionOptions({}), { backend });
  const store = new SessionStore(manager, { readIds: () => [], bind: () => '' });
  const client = new Client(server.url);
  await client.connect();
  await seedSessions(client, TABLE, SESSIONS, JSON.stringify({ count: 0, cart: ['tea'.repeat(70)] }));
  console.log(`${SESSIONS} sessions, ${await expired(client)} expired, ${await size(client)}`);

  const load = startLoad(store);
  await load.measure(sleep(WARM_UP * 1000));
  const before = await load.measure(sleep(BEFORE * 1000));
  const startedAt = Date.now();
  let removed = 0;
  const during = await load.measure(store.cleanUp().then(count => (removed = count)));
  const seconds = (Date.now() - startedAt) / 1000;
  const after = await load.measure(sleep(10_000));
  await load.stop();
  console.log(
    `sweep: ${removed} removed in ${seconds.toFixed(1)} s, ${await expired(client)} left, ${await size(client)}`,
  );
  for (const [name, { p50, p99, perSecond }] of Object.entries({ before, during, after })) {
    console.log(
      `${name}: p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, ${perSecond.toFixed(0)} requests a second`,
    );
  }
  console.log(
    `during / before: p50 ${(during.p50 / before.p50).toFixed(2)}, p99 ${(during.p99 / before.p99).toFixed(2)}`,
  );

  await client.end();
  await manager.close();
  await server.close();
}

const sleep = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));

/** Clients that change live sessions one after the other. */
function startLoad(store: SessionStore) {
  let times: number[] = [];
  const state = { isRunning: true };
  const clients = Array.from({ length: CLIENTS }, async () => {
    while (state.isRunning) {
      const id = seededId(2 * randomInt(1, SESSIONS / 2));
      const startedAt = performance.now();
      await store.update(id, session => session.set('count', session.get('count') + 1));
      times.push(performance.now() - startedAt);
    }
  });
  return {
    async measure(task: Promise<unknown>) {
      times = [];
      const startedAt = performance.now();
      await task;
      const sorted = times.sort((a, b) => a - b);
      const at = (share: number) => sorted[Math.floor(sorted.length * share)] ?? NaN;
      return {
        p50: at(0.5),
        p99: at(0.99),
        perSecond: (sorted.length * 1000) / (performance.now() - startedAt),
      };
    },
    async stop() {
      state.isRunning = false;
      await Promise.all(clients);
    },
  };
}

async function expired(client: Client): Promise<number> {
  const { rows } = await client.query(`SELECT count(*)::int AS n FROM ${TABLE} WHERE expires_at <= now()`);
  return rows[0].n;
}

async function size(client: Client): Promise<string> {
  const { rows } = await client.query(
    `SELECT pg_size_pretty(pg_table_size($1)) AS t, pg_size_pretty(pg_indexes_size($1)) AS i`,
    [TABLE],
  );
  return `table ${rows[0].t}, indexes ${rows[0].i}`;
}

await main();
