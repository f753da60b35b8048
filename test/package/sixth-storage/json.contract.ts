import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeSessionBackend } from '../../testing.js';
import { openStorage } from '../open-storage.js';

// Opened by its options, as the module does it.
const openClient = async (folder: string) => {
  const { backend } = await openStorage(
    { storageType: 'json', folder },
    { create: async type => new type() },
  );
  return backend;
};

describeSessionBackend('json', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'nest-sessions-json-'));
  return {
    clients: [await openClient(folder), await openClient(folder)],
    close: () => rm(folder, { recursive: true }),
  };
});
