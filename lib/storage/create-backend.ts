import type { ModuleRef } from '@nestjs/core';
import { inspect } from 'node:util';
import { SessionOptionsException } from '../exceptions/session.exception.js';
import type { ResolvedSessionOptions } from '../options/session-options.js';
import { FileBackend } from './file/file.backend.js';
import { openMemcachedBackend } from './memcached/memcached.backend.js';
import { openPostgresqlBackend } from './postgresql/postgresql.backend.js';
import { RamBackend } from './ram/ram.backend.js';
import type { SessionBackend } from './session-backend.js';

const METHODS = [
  'read',
  'lock',
  'renew',
  'unlock',
  'touch',
  'create',
  'save',
  'delete',
  'cleanUp',
  'close',
] as const satisfies (keyof SessionBackend)[];

/**
 * The backend that the options ask for, ready for use. CherryPy's `storage_type`.
 * @param moduleRef makes an instance of a class, with what it injects
 * @throws SessionOptionsException for an own backend that lacks a method
 */
export async function createBackend(
  options: ResolvedSessionOptions,
  moduleRef: ModuleRef,
): Promise<SessionBackend> {
  const { storageType } = options;
  if (storageType === 'ram') {
    return asItsName(new RamBackend(options.maxSessions));
  }
  if (storageType === 'file') {
    const backend = new FileBackend(options.storagePath!);
    await backend.open();
    return asItsName(backend);
  }
  if (storageType === 'postgresql') {
    return asItsName(await openPostgresqlBackend(options));
  }
  if (storageType === 'memcached') {
    return asItsName(await openMemcachedBackend(options));
  }
  const backend = typeof storageType === 'function' ? await moduleRef.create(storageType) : storageType;
  const missing = METHODS.filter(method => typeof backend[method] !== 'function');
  if (missing.length > 0) {
    throw new SessionOptionsException([
      `storageType has no ${missing.join(', ')}; a SessionBackend needs ${METHODS.join(', ')}`,
    ]);
  }
  return backend;
}

/** How it is printed: it holds the data of sessions, and what a server's password is in. */
const asItsName = (backend: SessionBackend): SessionBackend =>
  Object.defineProperty(backend, inspect.custom, { value: () => backend.constructor.name });
