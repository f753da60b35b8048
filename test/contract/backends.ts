import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SessionBackend } from 'nest-sessions';
import { FileBackend } from '../../lib/storage/file/file.backend.js';
import { RamBackend } from '../../lib/storage/ram/ram.backend.js';

export interface TestStorage {
  /** Two clients of one storage, as two processes have. Where only one is possible, it is there twice. */
  clients: [SessionBackend, SessionBackend];
  /** Closes the clients and removes what was stored. */
  close(): Promise<void>;
}

export interface BackendUnderTest {
  name: string;
  /** Opens a storage with nothing in it. */
  open(): Promise<TestStorage>;
}

/** Every backend that must keep the storage contract. A new one is added here, and nowhere else. */
export const BACKENDS: BackendUnderTest[] = [
  {
    name: 'ram',
    async open() {
      const backend = new RamBackend(100_000);
      return { clients: [backend, backend], close: () => backend.close() };
    },
  },
  {
    name: 'file',
    async open() {
      const folder = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
      const [first, second] = [new FileBackend(folder), new FileBackend(folder)];
      await first.open();
      await second.open();
      return {
        clients: [first, second],
        async close() {
          await first.close();
          await second.close();
          await rm(folder, { recursive: true, force: true });
        },
      };
    },
  },
];
