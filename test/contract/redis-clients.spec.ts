import { randomBytes } from 'node:crypto';
import { describe, it } from 'vitest';
import { describeSessionBackend, type TestStorage } from '../../lib/testing.js';
import { openBackendOf } from '../support/open-backend.js';
import { CLIENTS, type OwnClient } from '../support/redis-clients.js';
import { redisUrl } from '../support/shared-servers.js';
import { isTested } from '../support/storage-names.js';

/** Two backends of the application's own clients. */
async function openWith(make: () => Promise<OwnClient>): Promise<TestStorage> {
  const keyPrefix = `${randomBytes(6).toString('hex')}:`;
  const owns = [await make(), await make()];
  const [one, two] = await Promise.all(
    owns.map(({ client }) => openBackendOf({ storageType: 'redis', client, keyPrefix })),
  );
  return {
    clients: [one!, two!],
    sweepsItself: true,
    async close() {
      await Promise.all([one!.close(), two!.close()]);
      owns.forEach(({ end }) => end());
    },
  };
}

describe.runIf(isTested('redis')).each(Object.entries(CLIENTS))('%s', (name, make) => {
  describeSessionBackend(name, () => openWith(() => make(redisUrl())), { describe, it });
});
