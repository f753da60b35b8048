import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { afterAll } from 'vitest';
import { postgresqlUrl } from './shared-servers.js';

let client: Client | undefined;
const names: string[] = [];

/** A database of this file's own, for what takes the default table; it goes after the file's tests. */
export async function makeDatabase(): Promise<URL> {
  const url = new URL(await postgresqlUrl());
  if (!client) {
    client = new Client(url.href);
    await client.connect();
  }
  const name = `test_${randomBytes(6).toString('hex')}`;
  await client.query(`CREATE DATABASE ${name}`);
  names.push(name);
  url.pathname = name;
  return url;
}

afterAll(async () => {
  for (const name of names) {
    await client!.query(`DROP DATABASE ${name} WITH (FORCE)`);
  }
  await client?.end();
});
