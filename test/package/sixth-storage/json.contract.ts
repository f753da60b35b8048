import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeSessionBackend } from '../../testing.js';
import { openBackend } from '../open-storage.js';

// Opened by its options, as the module does it.
const openClient = (folder: string) =>
  openBackend({ storageType: 'json', folder }, { create: async type => new type() });

describeSessionBackend('json', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'nest-sessions-json-'));
  return {
    clients: [await openClient(folder), await openClient(folder)],
    close: () => rm(folder, { recursive: true }),
  };
});
