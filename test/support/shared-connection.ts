import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/**
 * One connection that many requests use in turn, as of a driver with callbacks. What a callback runs in is the
 * asynchronous context of whoever opened the connection, not of who asked.
 */
export class SharedConnection {
  private readonly callbacks: (() => void)[] = [];
  private readonly server: Server = createServer(socket => socket.pipe(socket));
  private socket: Socket | undefined;

  async listen(): Promise<void> {
    await once(this.server.listen(0, '127.0.0.1'), 'listening');
  }

  get isOpen(): boolean {
    return this.socket !== undefined;
  }

  async open(): Promise<void> {
    const { port } = this.server.address() as AddressInfo;
    this.socket = connect(port, '127.0.0.1');
    this.socket.on('data', data => data.forEach(() => this.callbacks.shift()!()));
    await once(this.socket, 'connect');
  }

  /** One exchange with the server. */
  ask(callback: () => void): void {
    this.callbacks.push(callback);
    this.socket!.write('?');
  }

  close(): void {
    this.socket?.destroy();
    this.socket = undefined;
    this.server.close();
  }
}
