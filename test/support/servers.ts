import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { chown, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { memcachedBinaries, postgresqlBinaries, redisBinaries } from './server-binaries.js';
import { until } from './until.js';

const run = promisify(execFile);

/** A database server that a test run starts, stops and kills as it likes. */
export interface TestServer {
  readonly port: number;
  readonly process: ChildProcess | undefined;
  /** Starts it again on the same port, with the same data where it keeps any; until it serves clients. */
  start(): Promise<void>;
  /** As a crash does. */
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** SIGSTOP and SIGCONT: the server hangs, once this has resolved, and goes on. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): Promise<void>;
  close(): Promise<void>;
  /** The same at once, for a process that is about to end. */
  closeAtExit(): void;
}

/** PostgreSQL in a temporary folder, on a free port. Not durable against a crash of the machine, but of the server. */
export async function startPostgresqlServer(settings: string[] = []): Promise<TestServer & { url: string }> {
  const bin = await postgresqlBinaries();
  const folder = await mkdtemp(join(tmpdir(), 'nest-sessions-pg-'));
  const data = join(folder, 'data');
  // PostgreSQL refuses to run as root.
  const account = process.getuid?.() === 0 ? accountOf('postgres') : undefined;
  if (account) {
    await chown(folder, account.uid, account.gid);
  }
  await run(join(bin, 'initdb'), ['-D', data, '-U', 'test', '-A', 'trust', '-E', 'UTF8', '--no-sync'], {
    ...account,
  });
  const port = await freePort();
  const options = ['max_connections=200', ...settings].flatMap(setting => ['-c', setting]);
  const args = ['-D', data, '-p', String(port), '-k', folder, '-h', '127.0.0.1', ...options];
  const url = `postgres://test@127.0.0.1:${port}/postgres`;
  const server = new ServerProcess(
    port,
    () => spawn(join(bin, 'postgres'), args, { ...account, stdio: ['ignore', 'ignore', 'pipe'] }),
    () => postgresqlAnswers(url),
    folder,
  );
  await server.start();
  return Object.assign(server, { url });
}

/** memcached on a free port. */
export async function startMemcachedServer(args: string[] = []): Promise<TestServer & { address: string }> {
  const bin = await memcachedBinaries();
  const port = await freePort();
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
  const server = new ServerProcess(
    port,
    () =>
      spawn(join(bin, 'memcached'), ['-l', '127.0.0.1', '-p', String(port), '-m', '256', ...user, ...args], {
        stdio: ['ignore', 'ignore', 'pipe'],
      }),
    () => memcachedAnswers(port),
  );
  await server.start();
  return Object.assign(server, { address: `127.0.0.1:${port}` });
}

export interface RedisSettings {
  /** Keeps all that it acknowledged when it is killed. Default: it is in memory alone. */
  isDurable?: boolean;
  port?: number;
  /** More of the command line. */
  args?: string[];
}

/** Redis on a free port. */
export async function startRedisServer({
  isDurable = false,
  port: fixed,
  args = [],
}: RedisSettings = {}): Promise<TestServer & { url: string }> {
  const bin = await redisBinaries();
  const port = fixed ?? (await freePort());
  const folder = await mkdtemp(join(tmpdir(), 'nest-sessions-redis-'));
  const settings = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', ''];
  // Without fsync: the machine does not crash.
  settings.push('--appendonly', isDurable ? 'yes' : 'no', '--appendfsync', 'no', ...args);
  const server = new ServerProcess(
    port,
    () => spawn(join(bin, 'redis-server'), settings, { stdio: ['ignore', 'ignore', 'pipe'] }),
    () => redisAnswers(port),
    folder,
  );
  await server.start();
  return Object.assign(server, { url: `redis://127.0.0.1:${port}` });
}

class ServerProcess implements TestServer {
  process: ChildProcess | undefined;
  private stderr = '';

  constructor(
    readonly port: number,
    private readonly spawn: () => ChildProcess,
    private readonly answers: () => Promise<boolean>,
    private readonly folder?: string,
  ) {}

  async start(): Promise<void> {
    const isRestart = this.process !== undefined;
    const deadline = Date.now() + 30_000;
    let process = this.launch();
    while (!(await this.answers())) {
      const hasEnded = process.exitCode !== null;
      if (Date.now() > deadline || (hasEnded && !isRestart)) {
        throw new Error(`The server on port ${this.port} did not start: ${this.stderr.slice(-2000)}`);
      }
      if (hasEnded) {
        // The processes of a PostgreSQL that was killed hold its shared memory until their statements end.
        await sleep(50);
        process = this.launch();
      }
      await sleep(5);
    }
  }

  private launch(): ChildProcess {
    this.stderr = '';
    this.process = this.spawn();
    this.process.stderr!.on('data', data => (this.stderr += data));
    return this.process;
  }

  async kill(signal: NodeJS.Signals = 'SIGQUIT'): Promise<void> {
    const { process } = this;
    if (process && process.exitCode === null && process.signalCode === null) {
      const exit = once(process, 'exit');
      await this.signal('SIGCONT');
      process.kill(signal);
      await exit;
    }
  }

  async signal(signal: 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    const parent = this.process!.pid!;
    if (signal === 'SIGSTOP') {
      await send(signal, [parent]); // by itself: from now on it starts no more children
    }
    await send(signal, [parent, ...childrenOf(parent)]);
  }

  async close(): Promise<void> {
    await this.kill();
    if (this.folder) {
      await rm(this.folder, { recursive: true, force: true });
    }
  }

  closeAtExit(): void {
    this.process?.kill('SIGKILL');
    if (this.folder) {
      // Its children end a moment later.
      rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
    }
  }
}

/** PostgreSQL listens before it has recovered from a crash, and refuses connections until then. */
async function postgresqlAnswers(url: string): Promise<boolean> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return true;
  } catch {
    return false;
  } finally {
    await client.end();
  }
}

const memcachedAnswers = (port: number): Promise<boolean> =>
  memcachedStats(port).then(
    () => true,
    () => false,
  );

function redisAnswers(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'));
    socket
      .setEncoding('utf8')
      .once('data', (answer: string) => socket.end(() => resolve(answer.startsWith('+PONG'))));
    socket.on('error', () => resolve(false));
  });
}

/** What memcached tells of itself, a line `STAT name value` each. */
export function memcachedStats(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => socket.write('stats\r\n'));
    socket.setEncoding('utf8').on('data', (data: string) => {
      text += data;
      if (text.endsWith('END\r\n')) {
        socket.end(() => resolve(text));
      }
    });
    socket.on('error', reject);
  });
}

/**
 * A free port that the system does not give away by itself (Linux does so from 32768 on): while a server is down,
 * some connection's own end could take its port.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + randomInt(12_000);
    const server = createServer().listen(port, '127.0.0.1');
    try {
      await once(server, 'listening');
    } catch {
      continue;
    }
    server.close();
    await once(server, 'close');
    return port;
  }
}

function accountOf(name: string): { uid: number; gid: number } {
  const id = (flag: string) => Number(execFileSync('id', [flag, name], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

/** A stop takes its time on a busy machine: each thread goes on until it has its turn to see the signal. */
async function send(signal: 'SIGSTOP' | 'SIGCONT', pids: number[]): Promise<void> {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // a child that has just ended
    }
  }
  if (signal === 'SIGSTOP') {
    await until(async () => (await Promise.all(pids.map(isStopped))).every(Boolean));
  }
}

/** All threads of it; or it has ended. */
async function isStopped(pid: number): Promise<boolean> {
  try {
    const tasks = `/proc/${pid}/task`;
    const stats = await Promise.all(
      (await readdir(tasks)).map(task => readFile(join(tasks, task, 'stat'), 'utf8')),
    );
    return stats.every(stat => /\) [TtZX] /.test(stat));
  } catch {
    // no Linux; or a thread that has just ended
    return run('ps', ['-o', 'state=', '-p', String(pid)]).then(
      ({ stdout }) => /^\s*[TZ]/.test(stdout),
      () => true,
    );
  }
}

function childrenOf(pid: number): number[] {
  try {
    return execFileSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' })
      .split('\n')
      .filter(Boolean)
      .map(Number);
  } catch {
    return [];
  }
}
