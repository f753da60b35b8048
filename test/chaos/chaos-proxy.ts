import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** One way through the proxy, in order: what comes while it is held goes on when it is let go. */
class Way {
  private waiting: Buffer[] = [];
  private readonly late: Buffer[] = [];

  constructor(
    private readonly to: Socket,
    private readonly isHeld: () => boolean,
    private readonly delayMs: () => number,
  ) {}

  pass(data: Buffer): void {
    if (this.isHeld()) {
      this.waiting.push(data);
    } else {
      this.send(data);
    }
  }

  letGo(): void {
    this.waiting.splice(0).forEach(data => this.send(data));
  }

  /** Nothing overtakes what is late: no network does that to a connection. */
  private send(data: Buffer): void {
    const delayMs = this.delayMs();
    if (delayMs > 0 || this.late.length > 0) {
      this.late.push(data);
      setTimeout(() => this.write(this.late.shift()!), delayMs);
    } else {
      this.write(data);
    }
  }

  private write(data: Buffer): void {
    if (this.to.writable) {
      this.to.write(data);
    }
  }
}

interface Link {
  client: Socket;
  server: Socket;
  requests: Way;
  answers: Way;
}

/** The network between one server process and the storage: slow, half open, or cut. */
export class ChaosProxy {
  /** Milliseconds that each piece is late, both ways. */
  delayMs = 0;
  private holdsRequests = false;
  private holdsAnswers = false;
  private readonly links = new Set<Link>();
  private readonly server = createServer(client => this.join(client));

  private constructor(private readonly target: number) {}

  static async start(target: number): Promise<ChaosProxy> {
    const proxy = new ChaosProxy(target);
    proxy.server.listen(0, '127.0.0.1');
    await once(proxy.server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** Takes what comes, and passes it on when it is let go: half open, if it is one way. */
  hold(way: 'requests' | 'answers' | 'both'): void {
    this.holdsRequests = way !== 'answers';
    this.holdsAnswers = way !== 'requests';
  }

  letGo(): void {
    this.holdsRequests = this.holdsAnswers = false;
    for (const { requests, answers } of this.links) {
      requests.letGo();
      answers.letGo();
    }
  }

  /** Ends all connections, and what is on its way in them. */
  reset(): void {
    for (const { client, server } of this.links) {
      client.resetAndDestroy();
      server.resetAndDestroy();
    }
    this.links.clear();
  }

  close(): void {
    this.server.close();
    this.reset();
  }

  private join(client: Socket): void {
    const server = connect(this.target, '127.0.0.1');
    const delayMs = () => this.delayMs;
    const link = {
      client,
      server,
      requests: new Way(server, () => this.holdsRequests, delayMs),
      answers: new Way(client, () => this.holdsAnswers, delayMs),
    };
    this.links.add(link);
    client.on('data', data => link.requests.pass(data));
    server.on('data', data => link.answers.pass(data));
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      socket
        .on('error', () => undefined)
        .on('close', () => {
          this.links.delete(link);
          other.destroySoon();
        });
    }
  }
}
