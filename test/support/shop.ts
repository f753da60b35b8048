import { spawn, type ChildProcess } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import type { AdapterName } from './app.js';
import { makeDatabase } from './own-database.js';
import { buildProjectCopy } from './project-copy.js';
import { memcachedServers, redisUrl } from './shared-servers.js';
import { isTested, type StorageName } from './storage-names.js';

export interface OpenShop {
  process: ChildProcess;
  /** Like http://localhost:41234 */
  url: string;
  /** What it printed when it was ready. */
  line: string;
  /** Where it says that its sessions are. */
  words: string;
}

/** The sample, built once for a file's tests; what is open after them is closed. */
export class Shops {
  databaseUrl!: URL;
  private project!: string;
  private readonly running = new Set<ChildProcess>();

  constructor() {
    beforeAll(async () => {
      [this.project, this.databaseUrl] = await Promise.all([
        buildProjectCopy(),
        isTested('postgresql') ? makeDatabase() : new URL('postgres://nobody@127.0.0.1/none'),
      ]);
      this.databaseUrl.password ||= 'open-sesame';
    }, 180_000);
    afterAll(async () => {
      this.running.forEach(shop => shop.kill('SIGKILL'));
      await rm(this.project, { recursive: true, force: true });
    });
  }

  async open(storage: StorageName, adapter: AdapterName): Promise<OpenShop> {
    const { env, words } = await this.settings(storage, adapter);
    const shop = this.run({ STORAGE: storage, ADAPTER: adapter, ...env });
    let output = '';
    const line = await new Promise<string>((done, fail) => {
      shop.stdout!.on('data', chunk => {
        output += chunk;
        if (output.includes('\n')) {
          done(output);
        }
      });
      shop.stderr!.on('data', chunk => {
        output += chunk;
      });
      shop.once('exit', code => fail(new Error(`The shop ended with ${code}: ${output}`)));
    });
    return { process: shop, url: /http:\/\/localhost:\d+/.exec(line)![0], line, words };
  }

  run(env: Record<string, string>): ChildProcess {
    const shop = spawn(process.execPath, ['sample/dist/main.js'], {
      cwd: this.project,
      env: { ...process.env, DATABASE_URL: '', MEMCACHED_SERVERS: '', REDIS_URL: '', PORT: '0', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.running.add(shop);
    shop.once('exit', () => this.running.delete(shop));
    return shop;
  }

  private async settings(
    storage: StorageName,
    adapter: AdapterName,
  ): Promise<{ env: Record<string, string>; words: string }> {
    switch (storage) {
      case 'ram':
        return { env: {}, words: 'RAM' };
      case 'file': {
        const folder = join(this.project, 'sessions', adapter);
        return { env: { STORAGE_PATH: folder }, words: `files under ${folder}` };
      }
      case 'postgresql': {
        const { href, host } = this.databaseUrl;
        return { env: { DATABASE_URL: href }, words: `PostgreSQL on ${host}` };
      }
      case 'memcached': {
        const servers = memcachedServers();
        return { env: { MEMCACHED_SERVERS: servers }, words: `memcached on ${servers}` };
      }
      case 'redis': {
        const url = redisUrl();
        return { env: { REDIS_URL: url }, words: `Redis on ${new URL(url).host}` };
      }
    }
  }
}
