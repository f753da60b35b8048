import type { RedisClientType } from 'redis';
import { inTime } from '../in-time.js';
import { importOptional } from '../import-optional.js';
import { commandsOf, type RedisCommands, type SendCommand } from './redis.client.js';

/** Milliseconds between two tries to connect: from, doubled each time, to. */
const RECONNECT_FROM = 25;
const RECONNECT_TO = 500;

/**
 * The client that this package makes of a `url`. It keeps no commands for later: what is answered 503 must not be done
 * when the server is back. A connection on which a command gets no answer in time, or that leads to a server which only
 * reads since a failover, is given up for a new one.
 */
export class OwnRedisClient implements RedisCommands {
  readonly isCluster = false;
  readonly clientPrefix = '';
  private isClosed = false;
  private patience: NodeJS.Timeout | undefined;
  private hasConnected = false;
  private client: RedisClientType;
  private commands: RedisCommands;

  private constructor(
    private readonly makeClient: () => RedisClientType,
    private readonly timeoutMs: number,
  ) {
    this.client = makeClient();
    this.commands = commandsOf(this.client)!;
  }

  /** @throws SessionOptionsException if `redis` is missing, and what it fails to connect with */
  static async open(url: string, timeoutMs: number): Promise<OwnRedisClient> {
    const [redis] = await importOptional<[typeof import('redis')]>('redis', 'redis');
    const own: OwnRedisClient = new OwnRedisClient(
      () =>
        redis.createClient({
          ...addressOf(url),
          name: 'nest-sessions',
          disableOfflineQueue: true,
          socket: {
            ...(addressOf(url).socket as object),
            connectTimeout: timeoutMs,
            // At the start it fails; later it tries until it is closed.
            reconnectStrategy: (retries: number, cause: Error) =>
              own.hasConnected ? Math.min(RECONNECT_FROM * 2 ** retries, RECONNECT_TO) : cause,
          },
        }) as RedisClientType,
      timeoutMs,
    );
    try {
      await inTime(own.connect(), timeoutMs, () => new NoAnswer(timeoutMs));
    } catch (error) {
      own.close();
      throw error;
    }
    own.hasConnected = true;
    return own;
  }

  get isReady(): boolean {
    return this.commands.isReady;
  }

  send(key: string, args: string[]): Promise<unknown> {
    return this.orRenew(this.commands.send(key, args));
  }

  async masters(): Promise<SendCommand[]> {
    return [args => this.send('', args)];
  }

  subscribe(channel: string, listener: (message: string) => void): Promise<() => unknown> {
    return this.commands.subscribe(channel, listener);
  }

  ignoreErrors(): () => void {
    return () => undefined;
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.patience);
    end(this.client);
  }

  private async connect(): Promise<void> {
    const { client } = this;
    client.on('error', () => undefined);
    // The client waits for a server that takes connections, and says nothing on them, for as long as it likes.
    const watch = () => {
      clearTimeout(this.patience);
      this.patience = setTimeout(() => this.renew(client), this.timeoutMs);
    };
    client.on('reconnecting', watch);
    client.on('ready', () => clearTimeout(this.patience));
    watch();
    await client.connect();
  }

  private async orRenew<T>(answer: Promise<T>): Promise<T> {
    const { client, timeoutMs } = this;
    try {
      return await inTime(answer, timeoutMs, () => new NoAnswer(timeoutMs));
    } catch (error) {
      if (error instanceof NoAnswer || /\bREADONLY\b/.test(String(error))) {
        this.renew(client);
      }
      throw error;
    }
  }

  /** @param client of several that fail on one, the first renews it */
  private renew(client: RedisClientType): void {
    if (this.client === client && this.hasConnected && !this.isClosed) {
      this.client = this.makeClient();
      this.commands = commandsOf(this.client)!;
      client.removeAllListeners('reconnecting');
      end(client);
      this.connect().catch(() => undefined); // closed meanwhile
    }
  }
}

class NoAnswer extends Error {
  constructor(ms: number) {
    super(`Redis did not answer within ${ms} ms`);
  }
}

function end(client: RedisClientType): void {
  if (client.isOpen) {
    client.destroy();
  }
}

/** `unix:/run/redis.sock`, `unix://user:password@/run/redis.sock?db=1` */
const UNIX =
  /^unix:(?:\/\/(?:(?<user>[^:@/]*)(?::(?<password>[^@/]*))?@)?)?(?<path>\/[^?]*)(?:\?(?<query>.*))?$/;

/** Not each version of the client knows the urls of Unix sockets. */
function addressOf(url: string): { url?: string; socket?: object } & Record<string, unknown> {
  const parts = UNIX.exec(url)?.groups;
  if (!parts) {
    return { url };
  }
  const { user, password, path, query } = parts;
  return {
    ...(user && { username: decodeURIComponent(user) }),
    ...(password && { password: decodeURIComponent(password) }),
    database: Number(new URLSearchParams(query).get('db') ?? 0),
    socket: { path: decodeURIComponent(path!), tls: false },
  };
}
