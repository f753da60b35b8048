import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  startMemcachedServer,
  startPostgresqlServer,
  startRedisServer,
  type TestServer,
} from '../support/servers.js';
import type { StorageName } from '../support/storage-names.js';
import { ChaosProxy } from './chaos-proxy.js';
import type { Trouble } from './history.js';
import { ServerProcess } from './server-process.js';

const ADAPTERS = ['express', 'fastify'];
/** Short, so that what lapses does so often. */
const OPTIONS = { leaseTime: 2, lockTimeout: 8, timeout: 600, cleanFreq: 0.05 };
/** Seconds. */
const STORAGE_TIMEOUT = 1;
/** Where nothing stands still, a busy machine must not look like trouble. */
const CALM_TIMEOUT = 10;

/** The processes of a run, what is between them, and what was done to them. */
export class World {
  readonly servers: ServerProcess[] = [];
  /** Between each server and the storage. */
  readonly proxies: ChaosProxy[] = [];
  /** Of PostgreSQL, memcached or Redis. */
  storageServer: TestServer | undefined;
  readonly troubles: Trouble[] = [];
  private folder: string | undefined;
  private readonly beganAt = performance.now();

  private constructor(
    readonly storage: StorageName,
    private readonly programs: string,
    private readonly seed: number,
    private readonly isCalm: boolean,
  ) {}

  /**
   * Starts the storage, and the servers on it.
   * @param programs the folder of the compiled programs
   * @param seed which of the adapters comes first
   * @param isCalm no trouble is to come
   * @param parent where to make the folder of the file storage. Default: that of temporary files
   */
  static async start(
    storage: StorageName,
    programs: string,
    seed: number,
    isCalm: boolean,
    parent = tmpdir(),
  ): Promise<World> {
    const world = new World(storage, programs, seed, isCalm);
    process.once('exit', world.closeAtExit);
    try {
      await world.open(parent);
      return world;
    } catch (error) {
      await world.close();
      throw error;
    }
  }

  /** Seconds until the lock of a dead process lapses. */
  get leaseTime(): number {
    return OPTIONS.leaseTime;
  }

  /** Milliseconds since the run began. */
  readonly now = (): number => performance.now() - this.beganAt;

  /** Notes a trouble while it lasts. */
  async trouble<T>(name: string, server: number | undefined, task: () => Promise<T>): Promise<T> {
    const trouble: Trouble = {
      name,
      at: this.now(),
      doneAt: Infinity,
      ...(server !== undefined && { server }),
    };
    this.troubles.push(trouble);
    try {
      return await task();
    } finally {
      trouble.doneAt = this.now();
    }
  }

  async close(): Promise<void> {
    process.off('exit', this.closeAtExit);
    this.proxies.forEach(proxy => proxy.close());
    this.servers.forEach(server => server.killAtExit());
    await this.storageServer?.close();
    if (this.folder) {
      await rm(this.folder, { recursive: true, force: true });
    }
  }

  private readonly closeAtExit = () => {
    this.servers.forEach(server => server.killAtExit());
    this.storageServer?.closeAtExit();
  };

  private async open(parent: string): Promise<void> {
    const count = this.storage === 'ram' ? 1 : 3;
    if (this.storage === 'file') {
      this.folder = await mkdtemp(join(parent, 'nest-sessions-chaos-'));
    } else if (this.storage === 'postgresql') {
      this.storageServer = await startPostgresqlServer(['fsync=off']);
    } else if (this.storage === 'memcached') {
      this.storageServer = await startMemcachedServer();
    } else if (this.storage === 'redis') {
      this.storageServer = await startRedisServer({ isDurable: true });
    }
    for (let index = 0; index < count; index++) {
      if (this.storageServer) {
        this.proxies.push(await ChaosProxy.start(this.storageServer.port));
      }
      const options = { ...OPTIONS, ...this.storageOptions(this.proxies[index]?.port) };
      this.servers.push(new ServerProcess(index, this.programs, ADAPTERS[(index + this.seed) % 2]!, options));
    }
    await Promise.all(this.servers.map(server => server.start()));
  }

  private storageOptions(port: number | undefined): object {
    const { storage: storageType } = this;
    const timed = { storageType, storageTimeout: this.isCalm ? CALM_TIMEOUT : STORAGE_TIMEOUT };
    switch (storageType) {
      case 'ram':
        return { storageType };
      case 'file':
        return { ...timed, storagePath: this.folder };
      case 'postgresql':
        return { ...timed, url: `postgres://test@127.0.0.1:${port}/postgres` };
      case 'memcached':
        return { ...timed, servers: `127.0.0.1:${port}` };
      case 'redis':
        return { ...timed, url: `redis://127.0.0.1:${port}` };
    }
  }
}
