import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { pgbouncerBinaries } from './server-binaries.js';
import { freePort } from './servers.js';
import { until } from './until.js';

export interface Pgbouncer {
  /** Of the database through the proxy. */
  url: string;
  /** A command of its console, e.g. RECONNECT. @returns the rows of a SHOW */
  command(sql: string): Promise<Record<string, any>[]>;
  close(): Promise<void>;
}

/** PgBouncer that pools transactions, on a free port. @param settings of its file, as `name = value` */
export async function startPgbouncer(target: { port: number }, settings: string[] = []): Promise<Pgbouncer> {
  const bin = await pgbouncerBinaries();
  const folder = await mkdtemp(join(tmpdir(), 'nest-sessions-pgbouncer-'));
  const file = join(folder, 'pgbouncer.ini');
  const port = await freePort();
  const lines = [
    '[databases]',
    `postgres = host=127.0.0.1 port=${target.port}`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'unix_socket_dir =',
    'auth_type = trust',
    `auth_file = ${join(folder, 'users.txt')}`,
    'admin_users = test',
    'pool_mode = transaction',
    ...settings,
  ];
  await writeFile(join(folder, 'users.txt'), '"test" ""');
  await writeFile(file, lines.join('\n'));
  const args = ['-q', file];
  if (process.getuid?.() === 0) {
    // It refuses to run as root.
    const uid = Number(execFileSync('id', ['-u', 'postgres'], { encoding: 'utf8' }));
    await chown(folder, uid, uid);
    args.unshift('-u', 'postgres');
  }
  const child = spawn(join(bin!, 'pgbouncer'), args, { stdio: 'ignore' });
  const consoleOf = async () => {
    const client = new Client({ connectionString: `postgres://test@127.0.0.1:${port}/pgbouncer` });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  };
  await until(() =>
    consoleOf().then(
      client => client.end().then(() => true),
      () => false,
    ),
  );
  return {
    url: `postgres://test@127.0.0.1:${port}/postgres`,
    async command(sql) {
      const client = await consoleOf();
      const { rows } = await client.query(sql);
      await client.end();
      return rows;
    },
    async close() {
      const exit = once(child, 'exit');
      child.kill('SIGKILL');
      await exit;
      await rm(folder, { recursive: true, force: true });
    },
  };
}
