import type { Client } from 'memjs';
import type { Socket } from 'node:net';
import { importOptional } from '../import-optional.js';

/** Operation codes and statuses of memcached's binary protocol. */
const GET = 0x00;
const SET = 0x01;
const ADD = 0x02;
const DELETE = 0x04;
const OK = 0;
const NOT_FOUND = 1;
const EXISTS = 2;
const NOT_STORED = 5;

/** Bytes: what memcached allows unless it was started with -I. */
const DEFAULT_ITEM_LIMIT = 1024 * 1024;
const NOTHING: Buffer = Buffer.alloc(0);
/** memjs counts requests in a signed 32-bit number, and fails when it overflows. */
const MAX_SEQ = 2 ** 31 - 2;
/** Seconds, the longest that a timer of Node's can be. */
const NEVER = Math.floor((2 ** 31 - 1) / 1000);
/** Seconds up to which memcached reads an expiration as from now; beyond, it must be a date. */
const MAX_RELATIVE = 30 * 24 * 60 * 60;
/** The last date there is for an expiration, in 2106. */
const MAX_EXPIRATION = 2 ** 32 - 1;

export interface MemcachedConnectionOptions {
  /** Like `localhost:11211`, several with commas in between. */
  servers: string;
  username?: string | undefined;
  password?: string | undefined;
  /** Milliseconds that an answer may take. */
  timeoutMs: number;
}

/** An item with its compare-and-set number: the server's mark of this one state. */
export interface MemcachedItem {
  value: string;
  cas: Buffer;
}

interface Response {
  header: { status: number; cas: Buffer };
  val: Buffer;
}

/** What is used of memjs beneath its typed commands, which know no compare-and-set. */
interface RawClient extends Pick<Client, 'statsWithKey'> {
  seq: number;
  servers: RawServer[];
  incrSeq(): void;
  getServer(key: string): number;
  perform(
    key: string,
    request: Buffer,
    seq: number,
    done: (error: Error | null, response: Response) => void,
  ): void;
}

interface RawServer {
  _socket?: Socket;
  /** Ends its connection, and the requests that wait for an answer. */
  error(error: Error): void;
}

type MakeRequest = (opcode: number, key: string, extras: Buffer, value: Buffer, seq: number) => Buffer;

/**
 * The way to memcached through memjs. Requests are memjs' own, but for the compare-and-set number, which its
 * commands leave out. An item's server is chosen by `home`, so that what belongs together lives together.
 */
export class MemcachedConnection {
  private readonly client: RawClient;
  private readonly watched = new WeakSet<Socket>();
  private readonly corked = new Set<Socket>();

  private constructor(
    private readonly makeClient: () => RawClient,
    private readonly makeRequest: MakeRequest,
    private readonly timeoutMs: number,
  ) {
    this.client = makeClient();
  }

  /** @throws SessionOptionsException if memjs is missing */
  static async open(options: MemcachedConnectionOptions): Promise<MemcachedConnection> {
    const { servers, username, password, timeoutMs } = options;
    const [{ default: memjs }] = await importOptional<[{ default: any }]>('memcached', 'memjs');
    const makeClient = () =>
      memjs.Client.create(servers, {
        username,
        password,
        // memjs' own time limits leave the connection half open, and what it closes late ends its successor.
        timeout: NEVER,
        conntimeout: NEVER,
        keepAlive: true,
        // A request that got no answer may have been carried out: it is not for memjs to repeat it.
        retries: 1,
        logger: { log: () => undefined },
      }) as RawClient;
    return new MemcachedConnection(makeClient, memjs.Utils.makeRequestBuffer, timeoutMs);
  }

  async get(home: string, key: string): Promise<MemcachedItem | undefined> {
    const { header, val } = await this.perform(GET, home, key);
    if (header.status === NOT_FOUND) {
      return undefined;
    }
    requireStatus(header.status, OK);
    return { value: val.toString('utf8'), cas: header.cas };
  }

  /** @returns the new item's mark, or undefined if there is one already */
  async add(home: string, key: string, value: string, ttlMs: number): Promise<Buffer | undefined> {
    const { header } = await this.perform(ADD, home, key, toExtras(ttlMs), value);
    requireStatus(header.status, OK, EXISTS, NOT_STORED);
    return header.status === OK ? header.cas : undefined;
  }

  /**
   * @param cas only if the item still has this mark; without it, in any case
   * @returns the new mark, or undefined
   */
  async set(
    home: string,
    key: string,
    value: string,
    ttlMs: number,
    cas?: Buffer,
  ): Promise<Buffer | undefined> {
    const { header } = await this.perform(SET, home, key, toExtras(ttlMs), value, cas);
    requireStatus(header.status, OK, EXISTS, NOT_FOUND, NOT_STORED);
    return header.status === OK ? header.cas : undefined;
  }

  /** @param cas only if the item still has this mark @returns whether it was removed */
  async delete(home: string, key: string, cas?: Buffer): Promise<boolean> {
    const { header } = await this.perform(DELETE, home, key, NOTHING, '', cas);
    requireStatus(header.status, OK, EXISTS, NOT_FOUND);
    return header.status === OK;
  }

  /** The bytes that an item may take, by the settings of the servers: the smallest. */
  async itemLimit(): Promise<number> {
    const { client, timeoutMs } = this;
    let waiting = client.servers.length;
    let limit = Infinity;
    let timer: NodeJS.Timeout;
    return new Promise<number>((resolve, reject) => {
      timer = setTimeout(() => reject(noAnswer(timeoutMs)), timeoutMs);
      // Called once for each server.
      client.statsWithKey('settings', (error, _server, stats) => {
        limit = Math.min(limit, Number(stats?.item_size_max ?? DEFAULT_ITEM_LIMIT));
        if (error) {
          reject(error);
        } else if (--waiting === 0) {
          resolve(limit);
        }
      });
      client.servers.forEach((server, index) => this.watch(index, server));
    }).finally(() => clearTimeout(timer));
  }

  close(): void {
    this.client.servers.forEach((server, index) =>
      this.drop(index, server, new Error('memcached is closed')),
    );
  }

  private perform(
    opcode: number,
    home: string,
    key: string,
    extras = NOTHING,
    value = '',
    cas?: Buffer,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      const { client, timeoutMs } = this;
      if (client.seq >= MAX_SEQ) {
        client.seq = 0; // the requests of these numbers have ended long ago
      }
      client.incrSeq();
      const request = this.makeRequest(opcode, key, extras, Buffer.from(value), client.seq);
      cas?.copy(request, 16);
      const index = client.servers.length > 1 ? client.getServer(home) : 0;
      const server = client.servers[index]!;
      const timer = setTimeout(() => this.drop(index, server, noAnswer(timeoutMs)), timeoutMs);
      this.cork(server._socket);
      client.perform(home, request, client.seq, (error, response) => {
        clearTimeout(timer);
        if (error) {
          reject(error);
        } else {
          resolve(response);
        }
      });
      this.watch(index, server);
    });
  }

  /** What this turn of the event loop sends, for whichever session, goes out in one piece. */
  private cork(socket: Socket | undefined): void {
    if (socket && !this.corked.has(socket)) {
      this.corked.add(socket);
      socket.cork();
      setImmediate(() => {
        this.corked.delete(socket);
        socket.uncork();
      });
    }
  }

  /**
   * memjs does not tell the requests that wait when the server closes their connection; and after an error, it would
   * open the next one before the old one's 'close', which then ends its successor. So this comes before its handlers.
   */
  private watch(index: number, server: RawServer): void {
    const socket = server._socket;
    if (socket && !this.watched.has(socket)) {
      this.watched.add(socket);
      socket.setNoDelay(); // or the second of two requests sent together waits for the answer to the first
      const end = (error?: Error) =>
        this.drop(index, server, error ?? new Error('memcached closed the connection'));
      socket.prependOnceListener('error', end);
      socket.prependOnceListener('end', () => end());
      socket.prependOnceListener('close', () => end());
    }
  }

  /**
   * Ends a connection, of which nothing is known after a request without an answer, and the requests on it. memjs'
   * object goes with it: it would take half an answer, or the late end of the old connection, for the new one's.
   */
  private drop(index: number, server: RawServer, error: Error): void {
    if (this.client.servers[index] === server) {
      this.client.servers[index] = this.makeClient().servers[index]!;
    }
    server.error(error);
  }
}

const noAnswer = (ms: number): Error => new Error(`memcached did not answer within ${ms} ms`);

function requireStatus(status: number, ...allowed: number[]): void {
  if (!allowed.includes(status)) {
    throw new Error(`memcached answered with status 0x${status.toString(16)}`);
  }
}

/** Flags and expiration. Rounded up: the exact time is in the value, memcached only clears up behind it. */
function toExtras(ttlMs: number): Buffer {
  const seconds = Math.ceil(ttlMs / 1000) + 1;
  const extras = Buffer.alloc(8);
  const expiration = seconds > MAX_RELATIVE ? Math.floor(Date.now() / 1000) + seconds : seconds;
  extras.writeUInt32BE(Math.min(expiration, MAX_EXPIRATION), 4);
  return extras;
}
