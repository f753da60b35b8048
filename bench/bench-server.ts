import { execFile, fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Contender, Places } from './contenders.js';
import type { LoadOrder, LoadResult } from './load.js';
import type { Usage } from './server.js';

const here = (file: string): string => new URL(file, import.meta.url).pathname;

/** A contender's server, in a process of its own. */
export class Server {
  private constructor(
    readonly contender: Contender,
    readonly url: string,
    private readonly process: ChildProcess,
    private readonly folder: string,
  ) {}

  static async start(contender: Contender, places: Omit<Places, 'folder'>): Promise<Server> {
    const folder = await mkdtemp(join(tmpdir(), 'nest-sessions-bench-'));
    const args = [contender, { ...places, folder }].map(value => JSON.stringify(value));
    const child = fork(here('server.js'), args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    const [port] = await Promise.race([once(child, 'message'), once(child, 'exit').then(() => [])]);
    if (port === undefined) {
      throw new Error(`${contender.name} did not start`);
    }
    return new Server(contender, `http://127.0.0.1:${port}`, child, folder);
  }

  /** Lets the load generator, in a process of its own, do its work. @returns also the server's CPU time a request, in µs */
  async run(path: string, order: Omit<LoadOrder, 'url'>): Promise<LoadResult & { cpu: number }> {
    const before = await this.usage();
    const args = [here('load.js'), JSON.stringify({ ...order, url: this.url + path } satisfies LoadOrder)];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    const after = await this.usage();
    return { ...JSON.parse(stdout), cpu: (after.cpu - before.cpu) / (after.requests - before.requests) };
  }

  /** Begins sessions. @returns their cookies */
  seed(count: number, lines: number): Promise<string[]> {
    return Promise.all(Array.from({ length: count }, () => this.seedOne(lines)));
  }

  async stop(): Promise<void> {
    const exited = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await exited;
    await rm(this.folder, { recursive: true, force: true });
  }

  private async usage(): Promise<Usage> {
    this.process.send('usage');
    const [usage] = await once(this.process, 'message');
    return usage;
  }

  private seedOne(lines: number): Promise<string> {
    return new Promise((resolve, reject) => {
      get(`${this.url}/seed?lines=${lines}`, response => {
        const [cookie] = response.headers['set-cookie'] ?? [];
        response.resume();
        response.on('end', () =>
          cookie === undefined
            ? reject(new Error(`${this.contender.name} answered ${response.statusCode} without a cookie`))
            : resolve(cookie.split(';')[0]!),
        );
      }).on('error', reject);
    });
  }
}
