import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { describeSessionBackend } from '../../lib/testing.js';
import { openBackendOf } from '../support/open-backend.js';
import { CLUSTER_CLIENTS, type OwnClient } from '../support/redis-clients.js';
import { startRedisCluster, type RedisCluster } from '../support/redis-cluster.js';
import { isTested } from '../support/storage-names.js';

/** Sessions and the index of their owner lie on different servers. */
describe.runIf(isTested('redis'))('a cluster of three masters and three replicas', () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await startRedisCluster();
  }, 60_000);
  afterAll(() => cluster.close());

  describe.each(Object.entries(CLUSTER_CLIENTS))('%s', (name, make) => {
    let owns: OwnClient[];
    beforeAll(async () => {
      owns = [await make(cluster.addresses), await make(cluster.addresses)];
    });
    afterAll(() => owns.forEach(({ end }) => end()));

    describeSessionBackend(
      name,
      async () => {
        const keyPrefix = `${randomBytes(6).toString('hex')}:`;
        const [one, two] = await Promise.all(
          owns.map(({ client }) => openBackendOf({ storageType: 'redis', client, keyPrefix })),
        );
        return {
          clients: [one!, two!],
          sweepsItself: true,
          close: async () => void (await Promise.all([one!.close(), two!.close()])),
        };
      },
      { describe, it },
    );
  });
});
