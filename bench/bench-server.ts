import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import type { Contender, Places } from './contenders.js';
import type { LoadOrder, LoadResult } from './load.js';

const here = (file: string): string => new URL(file, import.meta.url).pathname;

/** A contender's server, in a process of its own. */
export class Server {
  private constructor(
    readonly contender: Contender,
    readonly url: string,
    private readonly process: ChildProcess,
    private readonly folder: string,
  ) {}

  static async start(contender: Contender, index: number, places: Omit<Places, 'folder'>): Promise<Server> {
    const folder = await mkdtemp(join(tmpdir(), 'nest-sessions-bench-'));
    const args = [here('server.js'), String(index), JSON.stringify({ ...places, folder })];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    for await (const line of createInterface({ input: child.stdout })) {
      const port = /^listening (\d+)$/.exec(line)?.[1];
      if (port !== undefined) {
        return new Server(contender, `http://127.0.0.1:${port}`, child, folder);
      }
    }
    throw new Error(`${contender.name} did not start`);
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

/** Lets the load generator, in a process of its own, do its work. */
export async function runLoad(order: LoadOrder): Promise<LoadResult> {
  const { stdout } = await promisify(execFile)(process.execPath, [here('load.js'), JSON.stringify(order)]);
  return JSON.parse(stdout);
}
