import type { ModuleRef } from '@nestjs/core';
import type { ResolvedSessionOptions } from '../options/session-options.js';
import { FileBackend } from './file/file.backend.js';
import { RamBackend } from './ram/ram.backend.js';
import type { SessionBackend } from './session-backend.js';

/**
 * The backend that the options ask for, ready for use. CherryPy's `storage_type`.
 * @param moduleRef makes an instance of a class, with what it injects
 */
export async function createBackend(
  options: ResolvedSessionOptions,
  moduleRef: ModuleRef,
): Promise<SessionBackend> {
  const { storageType } = options;
  if (storageType === 'ram') {
    return new RamBackend(options.maxSessions);
  }
  if (storageType === 'file') {
    const backend = new FileBackend(options.storagePath!);
    await backend.open();
    return backend;
  }
  return typeof storageType === 'function' ? moduleRef.create(storageType) : storageType;
}
