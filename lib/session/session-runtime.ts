import { Logger } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { SessionOptionsException } from '../exceptions/session.exception.js';
import { LockManager } from '../locking/lock-manager.js';
import { generateSessionId } from '../options/generate-id-option.js';
import type { ResolvedSessionOptions } from '../options/session-options.js';
import { readableSize } from '../options/size-limit.js';
import { DamageLog } from '../storage/damage-log.js';
import { FailSafeBackend } from '../storage/fail-safe-backend.js';
import type { StorageInUse } from '../storage/open-storage.js';
import type { OwnerLimit, SessionBackend, SessionRecord } from '../storage/session-backend.js';
import { assertRecord } from './assert-record.js';
import { SessionCodec, type StoredValues } from './session-codec.js';

/** A hundred years, in milliseconds: cookies, and dates at all, do not reach for ever. */
const MAX_TTL = 100 * 365 * 24 * 60 * 60_000;

/** Characters of what is logged of a record that cannot be read. */
const MAX_REASON = 300;

/** Milliseconds between two looks at whether all locks are free. */
const CLOSE_POLL = 10;

/** What all sessions share: the options, the storage, its locks, and the work that outlives a response. */
export class SessionRuntime {
  readonly backend: FailSafeBackend;
  readonly locks: LockManager;
  readonly codec: SessionCodec;
  readonly logger = new Logger('Sessions');
  private readonly damage = new DamageLog('Sessions');
  readonly lifetimeMs: number;
  /** Undefined: an owner may have any number of sessions. */
  readonly ownerLimit: OwnerLimit | undefined;
  /** Whether ids are 256 bits that were just drawn, so that none can be in use: not the application's own. */
  readonly drawsIds: boolean;
  private hasWarnedOfTwo = false;
  private sweep: Promise<number> | undefined;
  private readonly pending = new Set<Promise<unknown>>();

  constructor(
    readonly options: ResolvedSessionOptions,
    private readonly storage: StorageInUse,
  ) {
    this.codec = new SessionCodec(options.serializer);
    this.lifetimeMs = options.lifetime * 60_000;
    this.drawsIds = options.generateId === generateSessionId;
    const { backend, limitMs } = storage;
    this.ownerLimit = ownerLimit(options, backend);
    this.backend = new FailSafeBackend(backend, options.debug, key => this.codec.forget(key), limitMs);
    this.locks = new LockManager(this.backend, options.leaseTime * 1000, options.maxWaiters);
  }

  /** Secrets, and the sessions of all who are at work, are reached from here: what prints services must not. */
  [inspect.custom](): string {
    return 'SessionRuntime';
  }

  /** The record's data, or undefined if it cannot be read: then the session counts as missing. */
  parse(key: string, record: SessionRecord): StoredValues | undefined {
    try {
      assertRecord(record, readableSize(this.options.maxSize));
      return this.codec.read(key, record.data);
    } catch (error) {
      // What it says may be a part of the data, and as long as that.
      const reason = String(error).slice(0, MAX_REASON);
      this.damage.warn(key, `The data of session ${key} cannot be read, it counts as missing: ${reason}`);
      return undefined;
    }
  }

  /**
   * Of several ids that a request sent, the one whose session is alive; null for none. More than one counts as none:
   * a neighbouring site may have planted one.
   */
  async pickAlive<Sent extends { key: string }>(sent: readonly Sent[]): Promise<Sent | null> {
    const records = await Promise.all(sent.map(({ key }) => this.backend.read(key)));
    const alive = sent.filter(({ key }, index) => records[index] && this.parse(key, records[index]));
    if (alive.length > 1 && !this.hasWarnedOfTwo) {
      this.hasWarnedOfTwo = true;
      this.logger.warn(
        `A request sent two cookies ${this.options.name} whose sessions are both alive: it counts as having none. ` +
          `A site of the same domain can plant such cookies; a name such as __Host-${this.options.name} prevents it`,
      );
    }
    return alive.length === 1 ? alive[0]! : null;
  }

  /**
   * Milliseconds that a session has from now: its idle timeout, as far as its lifetime and the calendar allow.
   * @param timeout minutes; default: the option's
   */
  timeToLive(timeout: number | undefined, createdAt: number): number {
    return Math.min(
      (timeout ?? this.options.timeout) * 60_000,
      createdAt + this.lifetimeMs - Date.now(),
      MAX_TTL,
    );
  }

  /** Removes what has expired. Sweeps do not overlap: who asks for one meanwhile gets the result of the one at work. */
  cleanUp(signal?: AbortSignal): Promise<number> {
    return (this.sweep ??= this.backend.cleanUp(signal).finally(() => (this.sweep = undefined)));
  }

  /** Lets a task finish after the response it belongs to. Failures have been logged where they happened. */
  background(task: Promise<unknown> | undefined): void {
    if (!task) {
      return;
    }
    this.pending.add(task);
    const forget = () => this.pending.delete(task);
    task.then(forget, forget);
  }

  /** Waits for what is still being stored or released, then closes the storage. */
  async close(): Promise<void> {
    // Handlers may be at work whose clients have gone. One that does not end is waited for no longer than a lock.
    for (const end = Date.now() + this.options.leaseTime * 1000; this.locks.size > 0 && Date.now() < end;) {
      await sleep(CLOSE_POLL);
    }
    while (this.pending.size > 0) {
      await Promise.allSettled(this.pending);
    }
    this.locks.close();
    if (!this.storage.isForeign) {
      await this.backend.close(); // an instance that the application made is the application's to close
    }
  }
}

/** @throws SessionOptionsException if the storage can't keep to it */
function ownerLimit(options: ResolvedSessionOptions, backend: SessionBackend): OwnerLimit | undefined {
  const { maxSessionsPerOwner: max, beyondMaxSessions } = options;
  if (max === Infinity) {
    return undefined;
  }
  if (!backend.admit) {
    throw new SessionOptionsException([
      `maxSessionsPerOwner needs a storage that can count an owner's sessions, such as 'postgresql', 'redis', 'file' or 'ram'; ` +
        `an own backend needs the method admit()`,
    ]);
  }
  return { max, refuses: beyondMaxSessions === 'refuse' };
}
