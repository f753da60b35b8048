import type { SessionBackend, StorageOptions } from 'nest-sessions';
import { openBackend } from '../../lib/storage/open-storage.js';

/** The backend that options ask for. */
export async function openBackendOf<Backend extends SessionBackend = SessionBackend>(
  options: StorageOptions,
): Promise<Backend> {
  return (await openBackend(options, { create: async type => new type() })) as Backend;
}
