import { Logger } from '@nestjs/common';
import {
  SessionException,
  SessionHttpException,
  SessionStorageException,
  SessionUnsupportedException,
} from '../exceptions/session.exception.js';
import { describeError } from './describe-error.js';
import { inTime } from './in-time.js';
import type {
  Admission,
  Lease,
  OwnerLimit,
  OwnerSelection,
  SessionBackend,
  SessionWrite,
  StoredRecord,
} from './session-backend.js';

/**
 * A backend whose failures are logged and become `SessionStorageException` (503), so that nobody above can
 * take trouble for absence. One that does not answer in time has failed, and so has one that throws.
 */
export class FailSafeBackend implements SessionBackend {
  private readonly logger = new Logger('SessionStorage');
  readonly inProcess: boolean;
  readonly onFreed: SessionBackend['onFreed'];

  /**
   * @param onDelete is told of each key that is to be removed; without one, of all that an owner has
   * @param limitMs milliseconds that a call may take, but for sweeps and the end; undefined: any time
   */
  constructor(
    private readonly backend: SessionBackend,
    private readonly debug: boolean,
    private readonly onDelete?: (key?: string) => void,
    private readonly limitMs?: number,
  ) {
    this.inProcess = backend.inProcess ?? false;
    this.onFreed = backend.onFreed?.bind(backend);
  }

  read(key: string) {
    return this.guard('read', key, () => this.backend.read(key));
  }

  lock(key: string, lease: Lease) {
    const lock = () => this.backend.lock(key, lease);
    return this.guard('lock', key, lock, this.limitMs, () => this.backend.unlock(key, lease));
  }

  renew(key: string, lease: Lease) {
    return this.guard('renew', key, () => this.backend.renew(key, lease));
  }

  unlock(key: string, lease: Lease, ttl?: number) {
    return this.guard('unlock', key, () => this.backend.unlock(key, lease, ttl));
  }

  touch(key: string, ttl: number) {
    return this.guard('touch', key, () => this.backend.touch(key, ttl));
  }

  create(key: string, write: SessionWrite, lease?: Lease) {
    const create = () => this.backend.create(key, write, lease);
    return this.guard('create', key, create, this.limitMs, () => lease && this.backend.unlock(key, lease));
  }

  save(key: string, write: SessionWrite, lease: Lease, options: { unlock: boolean }) {
    return this.guard('save', key, () => this.backend.save(key, write, lease, options));
  }

  delete(key: string, lease?: Lease) {
    this.onDelete?.(key);
    return this.guard('delete', key, () => this.backend.delete(key, lease));
  }

  cleanUp(signal?: AbortSignal) {
    return this.guard('cleanUp', '', () => this.backend.cleanUp(signal), Infinity);
  }

  close() {
    return this.guard('close', '', () => this.backend.close(), Infinity);
  }

  count(): Promise<number> {
    if (!this.backend.count) {
      throw new SessionUnsupportedException('count');
    }
    return this.guard('count', '', () => this.backend.count!());
  }

  list(after: string | undefined, limit: number): Promise<StoredRecord[]> {
    if (!this.backend.list) {
      throw new SessionUnsupportedException('list');
    }
    return this.guard('list', '', () => this.backend.list!(after, limit));
  }

  findByOwner(owner: string): Promise<StoredRecord[]> {
    if (!this.backend.findByOwner) {
      throw new SessionUnsupportedException('findByOwner');
    }
    return this.guard('findByOwner', '', () => this.backend.findByOwner!(owner));
  }

  admit(admission: Admission, limit: OwnerLimit): Promise<boolean | 'refused'> {
    const { key, lease } = admission;
    if (!limit.refuses) {
      this.onDelete?.();
    }
    const admit = () => this.backend.admit!(admission, limit);
    return this.guard('admit', key, admit, this.limitMs, () => lease && this.backend.unlock(key, lease));
  }

  deleteByOwner(owner: string, options?: OwnerSelection): Promise<number> {
    if (!this.backend.deleteByOwner) {
      throw new SessionUnsupportedException('destroyByOwner');
    }
    this.onDelete?.();
    return this.guard('deleteByOwner', '', () => this.backend.deleteByOwner!(owner, options));
  }

  /**
   * What all calls of the storage go through; also those of a store that sessions come from.
   * @param onLate undoes what was done when nobody waited for it any more
   */
  guard<T>(
    operation: string,
    key: string,
    call: () => T | Promise<T>,
    limitMs = this.limitMs,
    onLate?: () => unknown,
  ): Promise<T> {
    const guarded = limited(call, limitMs, onLate).catch((error: unknown) => this.fail(operation, error));
    return this.debug ? guarded.then(value => this.log(operation, key, value)) : guarded;
  }

  private log<T>(operation: string, key: string, value: T): T {
    const outcome = typeof value === 'object' ? 'found' : String(value);
    this.logger.debug(`${operation} ${key}: ${outcome}`);
    return value;
  }

  private fail(operation: string, error: unknown): never {
    if (error instanceof SessionException || error instanceof SessionHttpException) {
      throw error; // the backend says itself what is wrong, e.g. with the data
    }
    this.logger.error(`The session storage failed to ${operation}: ${describeError(error)}`);
    throw new SessionStorageException(operation, error);
  }
}

/** Its answer in time. @param limitMs undefined or Infinity: whenever it comes */
function limited<T>(
  call: () => T | Promise<T>,
  limitMs: number | undefined,
  onLate: (() => unknown) | undefined,
): Promise<T> {
  try {
    const answer = Promise.resolve(call());
    return limitMs === undefined || limitMs === Infinity
      ? answer
      : inTime(answer, limitMs, () => {
          answer.then(onLate).catch(() => undefined);
          return new Error(`no answer within ${limitMs} ms`);
        });
  } catch (error) {
    return Promise.reject(error); // it throws, where it should reject
  }
}
