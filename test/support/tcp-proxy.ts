import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** Stands between a client and a server, and does to them what networks and dying machines do. */
export class TcpProxy {
  /**
   * - pass: as if it were not there
   * - hold: takes all that the client sends, and answers nothing; connections of that time stay dead
   * - cut: gives the first bytes of the next answer, then closes the connection, once
   */
  mode: 'pass' | 'hold' | 'cut' = 'pass';
  private readonly sockets = new Set<Socket>();
  private readonly server = createServer(client => this.join(client));

  private constructor(private readonly target: number) {}

  static async start(target: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    proxy.server.listen(0, '127.0.0.1');
    await once(proxy.server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** How many connections the client has open. */
  get connections(): number {
    return this.sockets.size;
  }

  close(): void {
    this.server.close();
    this.sockets.forEach(socket => socket.destroy());
  }

  private join(client: Socket): void {
    const server = connect(this.target, '127.0.0.1');
    let isDead = false;
    this.sockets.add(client);
    client.on('data', data => {
      isDead ||= this.mode === 'hold';
      if (!isDead) {
        server.write(data);
      }
    });
    server.on('data', data => {
      if (this.mode === 'cut') {
        this.mode = 'pass';
        client.end(data.subarray(0, data.length / 2));
        server.destroy();
      } else if (!isDead) {
        client.write(data);
      }
    });
    client
      .on('error', () => undefined)
      .on('close', () => {
        this.sockets.delete(client);
        server.destroy();
      });
    server.on('error', () => undefined).on('close', () => client.destroySoon());
  }
}
