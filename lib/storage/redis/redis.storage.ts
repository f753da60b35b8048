import { option } from '../../options/option.js';
import { isText, storageTimeout, storageType } from '../storage-type.js';
import { OwnRedisClient } from './own-redis-client.js';
import { RedisBackend } from './redis.backend.js';
import { commandsOf, type RedisClient, type RedisCommands } from './redis.client.js';
import { RedisConnection } from './redis.connection.js';
import { awaitReady, checkServer, describeUnusable } from './redis.start.js';

/** Bytes; a longer one would be kept with each session. */
const MAX_PREFIX = 150;

/** Sessions in Redis or Valkey. */
export const redis = storageType({
  options: {
    /** Like `redis://user:password@host:6379/0`, `rediss://…` or `unix:/run/redis.sock`. This or `client`. */
    url: option<string>(checkUrl),
    /**
     * The application's own client, connected, of `redis` (also of a cluster, a Sentinel set, or a pool), `ioredis` or
     * `iovalkey` (also `Cluster`); the application closes it.
     */
    client: option<RedisClient>(client =>
      commandsOf(client) ? undefined : `must be a client of redis, ioredis or iovalkey`,
    ),
    /** What all keys begin with, and the channel that tells of freed locks. Default `'session:'`. */
    keyPrefix: option<string, string>(checkKeyPrefix, (prefix = 'session:') => prefix),
    /** Seconds that a call of the storage may take before the request is answered 503. Default 5. */
    storageTimeout,
  },
  check: ({ url, client }) =>
    (url === undefined) !== (client === undefined)
      ? []
      : [
          `storageType 'redis' needs one of url and client, and has ${url === undefined ? 0 : 2}; ` +
            `e.g. url: process.env.REDIS_URL, if that is set`,
        ],
  async open({ url, client, keyPrefix, storageTimeout: seconds }, maxSize) {
    const timeoutMs = seconds * 1000;
    const way = url === undefined ? 'client' : 'url';
    let close = () => {};
    try {
      let commands: RedisCommands;
      if (url === undefined) {
        commands = commandsOf(client)!;
        close = commands.ignoreErrors();
        await awaitReady(commands, timeoutMs);
      } else {
        const own = await OwnRedisClient.open(url, timeoutMs);
        commands = own;
        close = () => own.close();
      }
      const connection = new RedisConnection(commands);
      await checkServer(connection, keyPrefix, way);
      return new RedisBackend(connection, keyPrefix, maxSize, close);
    } catch (error) {
      close();
      throw describeUnusable(error, way, keyPrefix);
    }
  },
});

/** It is not shown: it holds a password. */
function checkUrl(url: unknown): string | undefined {
  return isText(url) &&
    (/^unix:(\/\/[^/]*)?\/./.test(url) || (/^rediss?:\/\//.test(url) && URL.canParse(url)))
    ? undefined
    : `must be like redis://user:password@host:6379/0, rediss://… or unix:/run/redis.sock`;
}

function checkKeyPrefix(prefix: unknown): string | undefined {
  return typeof prefix === 'string' && Buffer.byteLength(prefix) <= MAX_PREFIX && prefix.isWellFormed()
    ? undefined
    : `must be a text of at most ${MAX_PREFIX} bytes`;
}
