import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Commands of memcached's binary protocol, by their codes. */
const COMMANDS = ['get', 'set', 'add', 'replace', 'delete'];
const HEADER = 24;
/** Milliseconds of silence that end what is sent together. */
const GATHER = 10;

/**
 * Stands before a memcached and notes its clients' exchanges: what one sends without waiting for an answer, as
 * `add get`. So that an early answer cuts nothing in two, it passes requests on once there come no more.
 */
export class MemcachedProxy {
  readonly exchanges: string[] = [];
  private readonly sockets = new Set<Socket>();
  private readonly server = createServer(client => this.serve(client));

  /** @param target the port of the real one */
  private constructor(private readonly target: number) {}

  static async start(target: number): Promise<MemcachedProxy> {
    const proxy = new MemcachedProxy(target);
    proxy.server.listen(0, '127.0.0.1');
    await once(proxy.server, 'listening');
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** The exchanges during a task. */
  async during(task: () => Promise<unknown>): Promise<string[]> {
    const from = this.exchanges.length;
    await task();
    return this.exchanges.slice(from);
  }

  close(): void {
    this.server.close();
    this.sockets.forEach(socket => socket.destroy());
  }

  private serve(client: Socket): void {
    const upstream = connect(this.target, '127.0.0.1');
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      this.sockets.add(socket);
      socket.on('close', () => other.destroy()).on('error', () => other.destroy());
    }
    upstream.pipe(client);
    let gathered = Buffer.alloc(0);
    client.on('data', async (chunk: Buffer) => {
      gathered = Buffer.concat([gathered, chunk]);
      const { length } = gathered;
      await sleep(GATHER);
      if (gathered.length === length) {
        this.exchanges.push(commandsIn(gathered));
        upstream.write(gathered);
        gathered = Buffer.alloc(0);
      }
    });
  }
}

function commandsIn(requests: Buffer): string {
  const names: string[] = [];
  for (let at = 0; at < requests.length; at += HEADER + requests.readUInt32BE(at + 8)) {
    const code = requests[at + 1]!;
    names.push(COMMANDS[code] ?? `0x${code.toString(16)}`);
  }
  return names.join(' ');
}

/** A server's own counts of the commands that it carried out. */
export async function memcachedCounts(port: number): Promise<{ get: number; set: number; delete: number }> {
  const socket = connect(port, '127.0.0.1').setEncoding('utf8');
  socket.write('stats\r\n');
  let text = '';
  for await (const chunk of socket) {
    text += chunk;
    if (text.endsWith('END\r\n')) {
      break;
    }
  }
  const stat = (name: string) => Number(new RegExp(`STAT ${name} (\\d+)`).exec(text)![1]);
  return {
    get: stat('cmd_get'),
    set: stat('cmd_set'), // and add
    delete: stat('delete_hits') + stat('delete_misses'),
  };
}
