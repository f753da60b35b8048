import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { afterFile } from './after-file.js';
import { sharedServer } from './run-servers.js';

/** Milliseconds that connections which are being closed get for it. */
const CLOSE_TIME = 5_000;

/** A new database on the run's PostgreSQL server; it goes after the file's tests. */
export async function makeDatabase(): Promise<URL> {
  const server = new URL(sharedServer('postgresql'));
  const name = `test_${randomBytes(6).toString('hex')}`;
  await inServer(server, client => client.query(`CREATE DATABASE ${name}`));
  afterFile(() => inServer(server, client => drop(client, name)));
  return Object.assign(new URL(server), { pathname: name });
}

/**
 * A pool that was ended may have connections still: pg does not wait until the server has closed them. One that is thrown
 * out instead fails the pool, after the last test, and with it the run.
 */
async function drop(client: Client, name: string): Promise<void> {
  for (const end = Date.now() + CLOSE_TIME; Date.now() < end; await sleep(10)) {
    const { rowCount } = await client.query('SELECT FROM pg_stat_activity WHERE datname = $1', [name]);
    if (rowCount === 0) {
      break;
    }
  }
  await client.query(`DROP DATABASE ${name} WITH (FORCE)`);
}

async function inServer({ href }: URL, work: (client: Client) => Promise<unknown>): Promise<void> {
  const client = new Client({ connectionString: href });
  await client.connect();
  await work(client);
  await client.end();
}
