import type { SessionBackend, StorageOptions } from 'nest-sessions';
import { openStorage } from '../../lib/storage/open-storage.js';

/** The backend that options ask for. */
export async function openBackendOf<Backend extends SessionBackend = SessionBackend>(
  options: StorageOptions,
): Promise<Backend> {
  const { backend } = await openStorage(options, { create: async type => new type() });
  return backend as Backend;
}
