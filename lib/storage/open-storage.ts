import type { Type } from '@nestjs/common';
import type { ModuleRef } from '@nestjs/core';
import { inspect } from 'node:util';
import { SessionOptionsException } from '../exceptions/session.exception.js';
import { resolveEach } from '../options/option.js';
import type { SessionOptions } from '../options/session-options.js';
import { DEFAULT_MAX_SIZE, readableSize } from '../options/size-limit.js';
import type { SessionBackend } from './session-backend.js';
import { ownOptions, storageNamed, type StorageOptions } from './storage-options.js';

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

/** A storage as the sessions of an application use it. */
export interface StorageInUse {
  backend: SessionBackend;
  /** Milliseconds that a call may take; undefined: any time. */
  limitMs?: number | undefined;
  /** Whether the application made the backend, and closes it. */
  isForeign?: boolean;
}

type OpeningOptions = StorageOptions & Pick<SessionOptions, 'maxSize'>;

/**
 * Opens the storage that the options ask for. CherryPy's `storage_type`.
 * @param options that are right
 * @param moduleRef makes an instance of a class, with what it injects
 * @throws SessionOptionsException for an own backend that lacks a method
 */
export async function openBackend(
  options: OpeningOptions | undefined,
  moduleRef: Pick<ModuleRef, 'create'>,
): Promise<SessionBackend> {
  const { storageType, named, resolved } = resolveStorage(options);
  return named
    ? asItsName(await named.open(resolved, readableSize(options?.maxSize ?? DEFAULT_MAX_SIZE)))
    : createOwn(storageType as Type<SessionBackend> | SessionBackend, moduleRef);
}

/** What the options say of the storage's use. Opens nothing: a test may put another backend in its place. */
export function describeUse(options: OpeningOptions | undefined): Omit<StorageInUse, 'backend'> {
  const { storageType, resolved } = resolveStorage(options);
  const seconds = resolved.storageTimeout as number | undefined;
  return { limitMs: seconds && seconds * 1000, isForeign: typeof storageType === 'object' };
}

/** The options themselves are asked, as they may be a class instance with getters. */
function resolveStorage(options: OpeningOptions = {}) {
  const { storageType = 'ram' } = options;
  const named = storageNamed(storageType);
  const resolved = resolveEach(named?.options ?? ownOptions, options as Record<string, unknown>);
  return { storageType, named, resolved };
}

async function createOwn(
  type: Type<SessionBackend> | SessionBackend,
  moduleRef: Pick<ModuleRef, 'create'>,
): Promise<SessionBackend> {
  const backend = typeof type === 'function' ? await moduleRef.create(type) : type;
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
