import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { afterFile } from './after-file.js';
import { sharedServer } from './run-servers.js';

/** A new database on the run's PostgreSQL server; it goes after the file's tests. */
export async function makeDatabase(): Promise<URL> {
  const url = new URL(sharedServer('postgresql'));
  const name = `test_${randomBytes(6).toString('hex')}`;
  await query(url, `CREATE DATABASE ${name}`);
  afterFile(() => query(url, `DROP DATABASE ${name} WITH (FORCE)`));
  return Object.assign(new URL(url), { pathname: name });
}

async function query({ href }: URL, sql: string): Promise<void> {
  const client = new Client({ connectionString: href });
  await client.connect();
  await client.query(sql);
  await client.end();
}
