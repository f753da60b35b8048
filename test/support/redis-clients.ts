import { Cluster as IoCluster, Redis } from 'ioredis';
import { Redis as Valkey } from 'iovalkey';
import type { RedisClient } from '../../lib/storage/redis/redis.client.js';
import { createClient, createClientPool, createCluster } from 'redis';

/** A client of an application's, and how it ends it. */
export interface OwnClient {
  client: RedisClient;
  end(): unknown;
}

/** The clients that an application may have of one server, with the settings that docs/storages.md asks for. */
export const CLIENTS: Record<string, (url: string) => Promise<OwnClient>> = {
  'a client of redis': async url => {
    const client = createClient({ url, disableOfflineQueue: true });
    client.on('error', () => undefined);
    await client.connect();
    return { client, end: () => client.destroy() };
  },
  'a pool of redis': async url => {
    const client = createClientPool({ url }, { minimum: 1, maximum: 5 });
    client.on('error', () => undefined);
    await client.connect();
    return { client, end: () => client.destroy() };
  },
  'a client of ioredis': async url => {
    const client = new Redis(url, { enableOfflineQueue: false, autoResendUnfulfilledCommands: false });
    client.on('error', () => undefined);
    return { client, end: () => client.disconnect() };
  },
  'a client of iovalkey': async url => {
    const client = new Valkey(url, { enableOfflineQueue: false, autoResendUnfulfilledCommands: false });
    client.on('error', () => undefined);
    return { client, end: () => client.disconnect() };
  },
};

type Address = { host: string; port: number };

/** The same of a cluster. */
export const CLUSTER_CLIENTS: Record<string, (addresses: Address[]) => Promise<OwnClient>> = {
  'createCluster of redis': async addresses => {
    const rootNodes = addresses.map(({ host, port }) => ({ url: `redis://${host}:${port}` }));
    const client = createCluster({ rootNodes, defaults: { disableOfflineQueue: true } });
    client.on('error', () => undefined);
    await client.connect();
    return { client, end: () => client.destroy() };
  },
  'Cluster of ioredis': async addresses => {
    const client = new IoCluster(addresses, {
      enableOfflineQueue: false,
      redisOptions: { autoResendUnfulfilledCommands: false },
    });
    client.on('error', () => undefined);
    return { client, end: () => client.disconnect() };
  },
};
