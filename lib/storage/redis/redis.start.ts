import { Logger } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import { SessionException, SessionOptionsException } from '../../exceptions/session.exception.js';
import { describeError } from '../describe-error.js';
import { channelOf } from './redis.backend.js';
import type { RedisCommands } from './redis.client.js';
import type { RedisConnection } from './redis.connection.js';
import { indexKey } from './redis.owner-index.js';
import { CHECK, CHECK_INDEX } from './redis.scripts.js';

/** The first version that has what the scripts use. */
const OLDEST = [6, 2] as const;
/** Milliseconds between two looks at a client that is connecting. */
const LOOK = 20;

/** The option that says where Redis is. */
type Way = 'url' | 'client';

/**
 * Looks whether the application's client can be used.
 * @throws SessionOptionsException
 */
export async function awaitReady(commands: RedisCommands, timeoutMs: number): Promise<void> {
  if (commands.clientPrefix !== '') {
    throw new SessionOptionsException([
      `client has a keyPrefix, which not all commands heed; give a duplicate of it without one, and set keyPrefix beside client`,
    ]);
  }
  for (const end = Date.now() + timeoutMs; !commands.isReady; await sleep(LOOK)) {
    if (Date.now() > end) {
      throw new SessionOptionsException([
        `client is not connected; connect it before (node-redis: await client.connect()), and look whether its server is running`,
      ]);
    }
  }
}

/**
 * Looks whether the server is one that sessions can be kept in, by a user who may do what is needed.
 * @throws SessionOptionsException, SessionException if not
 */
export async function checkServer(connection: RedisConnection, prefix: string, way: Way): Promise<void> {
  await checkInfo(connection, way);
  const key = `${prefix}${'-'.repeat(43)}`;
  try {
    await connection.run(CHECK, key, channelOf(prefix));
    await connection.run(CHECK_INDEX, indexKey(prefix, ' start'));
  } catch (error) {
    throw describeUnusable(error, way, prefix);
  }
}

async function checkInfo({ commands }: RedisConnection, way: Way): Promise<void> {
  const info = await infoOf(commands);
  const version = info.get('redis_version')?.split('.').map(Number);
  if (version && (version[0]! < OLDEST[0] || (version[0] === OLDEST[0] && version[1]! < OLDEST[1]))) {
    throw new SessionOptionsException([
      `Redis is of version ${version.join('.')}; storageType 'redis' needs ${OLDEST.join('.')} or newer, or Valkey`,
    ]);
  }
  if (info.get('cluster_enabled') === '1' && !commands.isCluster) {
    throw new SessionOptionsException([
      `${way} leads to one server of a cluster; give a client of the whole cluster: client: createCluster(…), or new Cluster(…) of ioredis`,
    ]);
  }
  const policy = info.get('maxmemory_policy');
  if (policy && policy !== 'noeviction' && info.get('maxmemory') !== '0') {
    new Logger('SessionRedisBackend').warn(
      `Redis may remove sessions when its memory is full: its maxmemory-policy is ${policy}; ` +
        `set noeviction, or keep sessions in a server of their own`,
    );
  }
}

/** What the server says of itself; nothing, if the user may not ask. */
async function infoOf(commands: RedisCommands): Promise<Map<string, string>> {
  try {
    const [send] = await commands.masters();
    const text = String(await send!(['INFO']));
    return new Map(Array.from(text.matchAll(/^(\w+):(.*?)\r?$/gm), ([, name, value]) => [name!, value!]));
  } catch (error) {
    if (/NOPERM/.test(describeError(error))) {
      return new Map();
    }
    throw error;
  }
}

/** By what the server or the system says, what to do. */
function remedyOf(message: string, way: Way, prefix: string): string {
  const remedies: [RegExp, string][] = [
    [/WRONGPASS|NOAUTH|invalid password|without any password/i, `check the user and the password in ${way}`],
    [
      /NOPERM|permissions/i,
      `let its user do it: ACL SETUSER … ~${prefix}* &${prefix}* +@hash +@sortedset +@scripting +@keyspace +@connection ` +
        `+publish +subscribe +time +info, or name another in ${way}`,
    ],
    [/READONLY/, `${way} leads to a replica; name the primary server`],
    [/OOM/, `its memory is full; raise maxmemory, or remove what is not needed`],
    [/LOADING|MASTERDOWN|CLUSTERDOWN|BUSY/, `start again when the server is ready`],
    [/ENOTFOUND|EAI_AGAIN/, `no host has the name in ${way}`],
    [/certificate|SSL|TLS|EPROTO/i, `check the protocol (redis: or rediss:) and the certificates in ${way}`],
    [/ENOENT|EACCES/, `is a server running at the socket in ${way}, and may this process use it`],
  ];
  const remedy = remedies.find(([pattern]) => pattern.test(message))?.[1];
  return remedy ?? `is a server running at the host and port in ${way}`;
}

export function describeUnusable(error: unknown, way: Way, prefix: string): SessionException {
  if (error instanceof SessionException) {
    return error;
  }
  const reason = describeError(error) || String((error as { code?: string }).code);
  const isAnswer = /^(ERR|[A-Z]{4,}) /.test(reason);
  return new SessionException(
    `Redis cannot be ${isAnswer ? 'used' : 'reached'}: ${reason}; ${remedyOf(reason, way, prefix)}`,
    {
      cause: error,
    },
  );
}
