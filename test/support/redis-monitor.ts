import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import * as scripts from '../../lib/storage/redis/redis.scripts.js';
import { redisCommand } from './redis-cluster.js';
import { until } from './until.js';

const NAMES = new Map(
  Object.entries(scripts).map(([name, { sha }]) => [sha, name.toLowerCase().replace('_o', 'O')]),
);

/** What clients make a server do, as its MONITOR tells it: each is one round trip. */
export class RedisMonitor {
  private text = '';

  private constructor(
    private readonly server: { url: string },
    private readonly socket: Socket,
  ) {
    socket.setEncoding('utf8').on('data', (data: string) => (this.text += data));
  }

  static async open(server: { url: string; port: number }): Promise<RedisMonitor> {
    const socket = connect(server.port, '127.0.0.1');
    await once(socket, 'connect');
    const monitor = new RedisMonitor(server, socket);
    socket.write('MONITOR\r\n');
    await until(() => monitor.text.startsWith('+OK'));
    return monitor;
  }

  /** @returns the scripts and subscriptions of clients that came over TCP, in their order */
  async during(task: () => Promise<unknown>): Promise<string[]> {
    await this.mark('begin');
    this.text = '';
    await task();
    await this.mark('end');
    return this.text.split('\r\n').flatMap(line => nameOf(line) ?? []);
  }

  close(): void {
    this.socket.destroy();
  }

  /** Whatever was asked before it has been told. */
  private async mark(word: string): Promise<void> {
    const mark = `${word}-${Math.random()}`;
    await redisCommand(this.server, 'ECHO', mark);
    await until(() => this.text.includes(mark));
  }
}

/** Scripts by the names that PostgreSQL's statements have. */
function nameOf(line: string): string | undefined {
  const [, command, args] = /^\+[\d.]+ \[\d+ [\d.]+:\d+\] "(\w+)" ?(.*)$/.exec(line) ?? [];
  if (command?.toLowerCase() === 'subscribe') {
    return 'subscribe';
  }
  if (command?.toLowerCase() !== 'evalsha') {
    return undefined;
  }
  const [sha, , , , second] = Array.from(args!.matchAll(/"((?:[^"\\]|\\.)*)"/g), ([, arg]) => arg!);
  const name = NAMES.get(sha!)!;
  if (name === 'save') {
    return second === '' ? 'saveAndUnlock' : 'save';
  }
  return name === 'unlock' && second !== '' ? 'unlockAndTouch' : name;
}
