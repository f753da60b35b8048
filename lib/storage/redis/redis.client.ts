/** A client of the package `redis`, connected: alone, of a cluster, of a Sentinel set, or a pool. */
export interface NodeRedisClient {
  readonly isOpen: boolean;
  sendCommand(...args: any[]): Promise<unknown>;
}

/** A client of the packages `ioredis` and `iovalkey`: alone, of a Sentinel set, or `Cluster`. */
export interface IoredisClient {
  readonly status: string;
  call(...args: any[]): Promise<unknown>;
}

/** A client of the application's. Not by the types of its package, which need not be installed. */
export type RedisClient = NodeRedisClient | IoredisClient;

export type SendCommand = (args: string[]) => Promise<unknown>;

/** What is used of a client, whichever it is. */
export interface RedisCommands {
  /** Whether a command would go out now, and not wait for a connection. */
  readonly isReady: boolean;
  /** @param key that the command is about: a cluster has it on one server */
  send(key: string, args: string[]): Promise<unknown>;
  /** A way to each server that has keys of its own. */
  masters(): Promise<SendCommand[]>;
  /**
   * Listens, on a connection that it shares with no commands, and again after each time that connection is lost.
   * @returns ends it
   */
  subscribe(channel: string, listener: (message: string) => void): Promise<() => unknown>;
  /** Whether it knows its way about a cluster. */
  readonly isCluster: boolean;
  /** What the client puts before each key by itself. */
  readonly clientPrefix: string;
  /** 'error' events of a client that nobody listens to would end the process. @returns ends it */
  ignoreErrors(): () => void;
}

/** The methods that tell clients apart; a client has some of them. */
type AnyClient = Record<string, any>;

/** @returns undefined for what is no client of a known kind */
export function commandsOf(client: unknown): RedisCommands | undefined {
  const any = (client ?? {}) as AnyClient;
  const has = (method: string) => typeof any[method] === 'function';
  if (has('call') && typeof any.status === 'string') {
    return has('nodes') ? ioredisCluster(any) : ioredis(any);
  }
  if (!has('sendCommand') || typeof any.isOpen !== 'boolean') {
    return undefined;
  }
  if (has('nodeClient')) {
    return nodeRedisCluster(any);
  }
  if (has('getMasterNode')) {
    return nodeRedisSentinel(any);
  }
  return has('execute') ? nodeRedisPool(any) : nodeRedis(any);
}

function ioredis(client: AnyClient): RedisCommands {
  const call = (args: string[]) => client.call(...args);
  return {
    ...ofAny(client, client.options?.keyPrefix),
    get isReady() {
      return client.status === 'ready';
    },
    send: (_key, args) => call(args),
    masters: async () => [call],
    async subscribe(channel, listener) {
      const subscriber = client.duplicate({
        lazyConnect: false,
        enableOfflineQueue: true,
        autoResubscribe: true,
        maxRetriesPerRequest: null,
      });
      subscriber.on('error', noop);
      subscriber.on('message', (_channel: string, message: string) => listener(message));
      const end = () => subscriber.disconnect();
      await orEnd(subscriber.subscribe(channel), end);
      return end;
    },
  };
}

function ioredisCluster(cluster: AnyClient): RedisCommands {
  const { keyPrefix, redisOptions } = cluster.options ?? {};
  return {
    ...ofAny(cluster, keyPrefix || redisOptions?.keyPrefix, true),
    get isReady() {
      return cluster.status === 'ready';
    },
    send: (_key, args) => cluster.call(...args),
    masters: async () =>
      cluster.nodes('master').map((node: AnyClient) => (args: string[]) => node.call(...args)),
    // A cluster has a connection of its own for subscriptions, and moves it to another server where it has to.
    async subscribe(channel, listener) {
      const onMessage = (from: string, message: string) => from === channel && listener(message);
      cluster.on('message', onMessage);
      const end = () => {
        cluster.off('message', onMessage);
        return cluster.unsubscribe(channel);
      };
      await orEnd(cluster.subscribe(channel), end);
      return end;
    },
  };
}

function nodeRedis(client: AnyClient): RedisCommands {
  const send: SendCommand = args => client.sendCommand(args);
  return {
    ...ofAny(client, client.options?.keyPrefix),
    get isReady() {
      return client.isReady;
    },
    send: (_key, args) => send(args),
    masters: async () => [send],
    subscribe: (channel, listener) => subscribeDuplicate(client, channel, listener),
  };
}

function nodeRedisPool(pool: AnyClient): RedisCommands {
  const send: SendCommand = args => pool.sendCommand(args);
  return {
    ...ofAny(pool, pool._keyPrefix),
    get isReady() {
      return pool.isOpen && !pool.isClosing;
    },
    send: (_key, args) => send(args),
    masters: async () => [send],
    subscribe: (channel, listener) =>
      pool.execute((client: AnyClient) => subscribeDuplicate(client, channel, listener)),
  };
}

function nodeRedisCluster(cluster: AnyClient): RedisCommands {
  return {
    ...ofAny(cluster, cluster._options?.keyPrefix, true),
    get isReady() {
      return cluster.isReady ?? cluster.isOpen;
    },
    send: (key, args) => cluster.sendCommand(key, false, args),
    async masters() {
      const nodes: AnyClient[] = await Promise.all(
        cluster.masters.map((node: unknown) => cluster.nodeClient(node)),
      );
      return nodes.map(node => args => node.sendCommand(args));
    },
    subscribe: (channel, listener) => subscribeItself(cluster, channel, listener),
  };
}

function nodeRedisSentinel(sentinel: AnyClient): RedisCommands {
  const send: SendCommand = args => sentinel.sendCommand(false, args);
  return {
    ...ofAny(sentinel, sentinel._keyPrefix),
    get isReady() {
      return sentinel.isReady;
    },
    send: (_key, args) => send(args),
    masters: async () => [send],
    subscribe: (channel, listener) => subscribeItself(sentinel, channel, listener),
  };
}

/** For those that have a connection of their own for subscriptions. */
async function subscribeItself(
  client: AnyClient,
  channel: string,
  listener: (message: string) => void,
): Promise<() => unknown> {
  await client.subscribe(channel, listener);
  return () => client.unsubscribe(channel, listener);
}

async function subscribeDuplicate(
  client: AnyClient,
  channel: string,
  listener: (message: string) => void,
): Promise<() => unknown> {
  const subscriber = client.duplicate();
  subscriber.on('error', noop);
  const end = () => subscriber.isOpen && subscriber.destroy();
  await orEnd(connectAndSubscribe(), end);
  return end;

  async function connectAndSubscribe(): Promise<void> {
    await subscriber.connect();
    await subscriber.subscribe(channel, listener);
  }
}

const ofAny = (client: AnyClient, clientPrefix: unknown, isCluster = false) => ({
  isCluster,
  clientPrefix: String(clientPrefix ?? ''),
  ignoreErrors() {
    client.on('error', noop);
    return () => client.off('error', noop);
  },
});

/** Ends what was begun before it tells the failure. */
async function orEnd(work: Promise<unknown>, end: () => unknown): Promise<void> {
  try {
    await work;
  } catch (error) {
    await Promise.resolve(end()).catch(noop);
    throw error;
  }
}

function noop(): void {}
