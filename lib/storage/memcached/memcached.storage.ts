import { SessionException } from '../../exceptions/session.exception.js';
import { option, required } from '../../options/option.js';
import { describeError } from '../describe-error.js';
import { isText, storageTimeout, storageType } from '../storage-type.js';
import { MemcachedBackend } from './memcached.backend.js';
import { MemcachedConnection } from './memcached.connection.js';

/** host:port, or the host alone. */
const SERVER = /^[^\s:,@]+(:\d{1,5})?$/;
/** A key of memcached's has at most 250 bytes, no spaces and no control characters. */
const KEY_PREFIX = /^[\x21-\x7e]{0,150}$/;

const NEEDS_SERVERS = `must be host:port, or several of them; storageType 'memcached' needs e.g. servers: 'localhost:11211'`;

/** Sessions in memcached. */
export const memcached = storageType({
  options: {
    /** `host:port`, or several. */
    servers: required<string | string[], string>(NEEDS_SERVERS, checkServers, servers =>
      [servers].flat().join(','),
    ),
    /** For servers that ask for it, with `password`. */
    username: option<string>(() => undefined),
    /** For servers that ask for it, with `username`. */
    password: option<string>(() => undefined),
    /** What all keys begin with. Default `'session:'`. */
    keyPrefix: option<string, string>(checkKeyPrefix, (prefix = 'session:') => prefix),
    /** Seconds that a call of the storage may take before the request is answered 503. Default 5. */
    storageTimeout,
  },
  check: ({ username, password }) =>
    (username === undefined) === (password === undefined)
      ? []
      : [`username and password go together; set both, or none`],
  async open({ servers, username, password, keyPrefix, storageTimeout: seconds }) {
    const timeoutMs = seconds * 1000;
    const connection = await MemcachedConnection.open({ servers, username, password, timeoutMs });
    try {
      return new MemcachedBackend(connection, await connection.itemLimit(), keyPrefix);
    } catch (error) {
      connection.close();
      const all = username === undefined ? 'servers' : 'servers, username and password';
      const reason = `memcached cannot be reached: ${describeError(error)}; check ${all} (${servers})`;
      throw new SessionException(reason, { cause: error });
    }
  },
});

function checkServers(servers: unknown): string | undefined {
  const list = typeof servers === 'string' ? servers.split(',') : servers;
  const isRight =
    Array.isArray(list) &&
    list.length > 0 &&
    list.every(server => isText(server) && SERVER.test(server.trim()));
  return isRight ? undefined : NEEDS_SERVERS;
}

function checkKeyPrefix(prefix: unknown): string | undefined {
  return typeof prefix === 'string' && KEY_PREFIX.test(prefix)
    ? undefined
    : `must be at most 150 printable characters without spaces`;
}
