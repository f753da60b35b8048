import { createClient } from 'redis';
import { freePort, startRedisServer, type TestServer } from './servers.js';
import { until } from './until.js';

const MASTERS = 3;
const SLOTS = 16_384;

export type RedisServer = TestServer & { url: string };

export interface RedisCluster {
  /** Three masters, then a replica of each. */
  servers: RedisServer[];
  addresses: { host: string; port: number }[];
  close(): Promise<void>;
}

/** A command on one server. */
export async function redisCommand(server: { url: string }, ...args: [string, ...string[]]): Promise<any> {
  const client = createClient({ url: server.url, RESP: 2, socket: { reconnectStrategy: false } });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await client.sendCommand(args);
  } finally {
    client.destroy();
  }
}

/** Three masters and three replicas, that have found each other. */
export async function startRedisCluster(): Promise<RedisCluster> {
  const servers = await Promise.all(
    Array.from({ length: 2 * MASTERS }, async () => {
      const busPort = String(await freePort());
      const args = ['--cluster-enabled', 'yes', '--cluster-port', busPort, '--cluster-node-timeout', '1000'];
      return Object.assign(await startRedisServer({ args }), { busPort });
    }),
  );
  const [first, ...others] = servers as [(typeof servers)[0], ...typeof servers];
  const masters = servers.slice(0, MASTERS);
  for (const [index, server] of masters.entries()) {
    const [from, to] = [index, index + 1].map(part => Math.floor((part * SLOTS) / MASTERS));
    await redisCommand(server, 'CLUSTER', 'ADDSLOTSRANGE', String(from), String(to! - 1));
    await redisCommand(server, 'CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1));
  }
  for (const { port, busPort } of others) {
    await redisCommand(first, 'CLUSTER', 'MEET', '127.0.0.1', String(port), busPort);
  }
  const knowsAll = async (server: RedisServer) =>
    String(await redisCommand(server, 'CLUSTER', 'NODES'))
      .trim()
      .split('\n').length === servers.length;
  await until(async () => (await Promise.all(servers.map(knowsAll))).every(Boolean), 30_000);
  for (const [index, server] of servers.slice(MASTERS).entries()) {
    const master = await redisCommand(masters[index]!, 'CLUSTER', 'MYID');
    await redisCommand(server, 'CLUSTER', 'REPLICATE', String(master));
  }
  const isReady = async (server: RedisServer) => {
    const info = String(await redisCommand(server, 'CLUSTER', 'INFO'));
    const nodes = String(await redisCommand(server, 'CLUSTER', 'NODES'));
    return info.includes('cluster_state:ok') && nodes.match(/\bslave\b/g)?.length === MASTERS;
  };
  await until(async () => (await Promise.all(servers.map(isReady))).every(Boolean), 30_000);
  return {
    servers,
    addresses: servers.map(({ port }) => ({ host: '127.0.0.1', port })),
    async close() {
      await Promise.all(servers.map(server => server.close()));
    },
  };
}
