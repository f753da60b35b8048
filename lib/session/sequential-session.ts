import { SessionDestroyedException, SessionSizeException } from '../exceptions/session.exception.js';
import type { LockClient, LockWait } from '../locking/key-queue.js';
import type { SessionLockingMode } from '../options/session-options.js';
import type { SessionRecord, SessionWrite } from '../storage/session-backend.js';
import { LiveValues } from './live-values.js';
import { RecordHandle } from './record-handle.js';
import { sessionKey } from './session-id.js';
import type { SessionRuntime } from './session-runtime.js';
import type { SessionIdListener } from './session.js';

/** A session id that came with a request, and what storages know it by. */
export interface SentId {
  readonly id: string;
  readonly key: string;
}

/** Says which session a request means, where that takes a look at a storage; null: none. */
export type Identify = () => Promise<SentId | null>;

/** The longest delay that a Node.js timer takes, in milliseconds: a longer one is none. */
const MAX_TIMER = 2 ** 31 - 1;
/** How often a new id that is taken already is drawn again; with random ids it never is. */
const CREATE_TRIES = 3;

/**
 * The operations of one session in use, one after the other: what each does in each state. The two halves meet here
 * and nowhere else: the values that the application holds, and the record and its lock. `OpenSession` puts the
 * operations in order.
 */
export abstract class SequentialSession implements LockClient {
  readonly values: LiveValues;
  originalId: string | undefined;
  /** May be set per route before the first use. */
  locking: SessionLockingMode;
  /** Whether a use may wait for the lock: not before the route is entered, nor once the answer has begun. */
  mayLock = true;
  missing = false;
  isNew = true;
  regenerated = false;
  abstract readonly givenUp: Error | undefined;
  cancelWait: (() => void) | undefined;

  protected readonly handle: RecordHandle;
  protected isCommitted = false;
  protected isDestroyed = false;
  /** The client needs the cookie: its id is new, or it lives longer now. */
  protected isCookieDue = false;
  protected isCookieExpired = false;
  private readonly startedAt = Date.now();
  private currentId: string | undefined;
  private currentKey: string | undefined;
  private idListeners: Set<SessionIdListener> | undefined;

  /** @param sent the id that the client sent; null for a cookie that holds none that is well-formed */
  constructor(
    protected readonly runtime: SessionRuntime,
    sent?: SentId | null,
    private readonly identify?: Identify,
  ) {
    this.handle = new RecordHandle(runtime);
    this.values = new LiveValues(runtime.options.serializer);
    this.locking = runtime.options.locking;
    this.adoptSent(sent);
  }

  get id(): string {
    if (this.currentId === undefined) {
      this.setId(this.runtime.options.generateId());
    }
    return this.currentId!;
  }

  get key(): string {
    return this.currentKey ?? (this.setId(this.id), this.currentKey!);
  }

  get createdAt(): number {
    return this.handle.record?.createdAt ?? this.startedAt;
  }

  get expiresAt(): number {
    return this.handle.record?.expiresAt ?? Date.now() + this.ttl();
  }

  onIdChange(listener: SessionIdListener): () => void {
    const listeners = (this.idListeners ??= new Set());
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  /** Whether `loadNow` has nothing left to do. */
  protected isReady(readOnly: boolean): boolean {
    const { name } = this.handle;
    return (
      name !== 'unread' &&
      name !== 'unsure' &&
      (readOnly || (this.values.isFilled && !(name === 'read' && this.locks)))
    );
  }

  async loadNow(readOnly = false): Promise<void> {
    const { handle, values } = this;
    if (handle.name === 'unread') {
      await this.readFirst(!readOnly && this.locks, readOnly);
    } else if (handle.name === 'unsure') {
      await this.refresh(!readOnly && this.locks);
    }
    if (!readOnly) {
      if (!values.isFilled) {
        const { record } = handle;
        values.fill((record && this.runtime.parse(this.key, record)) ?? {}, record);
      }
      if (handle.name === 'read' && this.locks) {
        await this.refresh(true);
      }
    }
  }

  async reloadNow(): Promise<void> {
    const { handle, values } = this;
    this.throwIfEnded();
    if (handle.name === 'new') {
      values.fill({});
      return;
    }
    // A read does not wait for the lock: this request may have it.
    await (handle.name === 'unsure' && this.locks
      ? handle.acquire(this.key, this.wait(), true)
      : handle.read(this.key));
    this.throwIfEnded();
    const { record } = handle;
    const data = record && this.runtime.parse(this.key, record);
    if (record && !data) {
      throw new SessionDestroyedException();
    }
    values.fill(data ?? {}, record);
  }

  /** Stores what there is, also if nothing has changed: who calls it wants it stored. */
  async saveNow(): Promise<void> {
    const { handle } = this;
    const keepsLock = this.locked || this.locks;
    if (handle.name === 'read' || handle.name === 'unsure') {
      await this.refresh(true);
    }
    this.throwIfEnded();
    if (handle.name === 'held') {
      await this.write(!keepsLock);
    } else {
      await this.create(keepsLock);
    }
    this.values.isUsed = false;
  }

  async touchNow(): Promise<void> {
    if (this.handle.name === 'unsure') {
      await this.refresh(this.locks);
    }
    this.throwIfEnded();
    if (this.isStored) {
      if (!(await this.handle.touch(this.ttl()))) {
        throw this.handle.endedBy!;
      }
      this.isCookieDue = true;
    }
  }

  async regenerateNow(): Promise<void> {
    const { handle, runtime } = this;
    const keepsLock = this.locked || this.locks;
    this.beginIfEndedWhileWaiting();
    if (handle.name === 'read' || handle.name === 'unsure') {
      await this.refresh(true);
    }
    this.throwIfEnded();
    const previousId = this.id;
    const id = runtime.options.generateId();
    if (handle.name === 'held') {
      const { timeout, createdAt } = handle.record!;
      if (!(await handle.move(sessionKey(id), runtime.timeToLive(timeout, createdAt)))) {
        throw new Error('generateId returns ids that are taken; they must be random');
      }
      this.isCookieDue = true;
    }
    this.setId(id);
    this.regenerated = true;
    if (!keepsLock) {
      await handle.release();
    }
    for (const listener of this.idListeners ?? []) {
      listener(id, previousId);
    }
  }

  async destroyNow(): Promise<void> {
    if (this.isStored || this.handle.name === 'unsure') {
      await this.handle.delete(this.key);
    }
    this.forgetNow();
  }

  /** Forgets a session whose record is gone; what is written from now on is a new session's. */
  forgetNow(): void {
    this.handle.forget();
    this.values.fill({});
    this.setId(undefined);
    this.isNew = true;
    this.isDestroyed = true;
  }

  /** @param timeout seconds; default: the option's */
  async acquireLockNow(timeout?: number): Promise<void> {
    this.throwIfEnded();
    if (this.handle.name === 'read' || this.handle.name === 'unsure') {
      await this.refresh(true, this.wait(timeout));
    }
  }

  async releaseLockNow(): Promise<void> {
    if (this.locked) {
      await (this.values.isChanged(this.handle.record) ? this.write(true) : this.handle.release());
      this.values.isUsed = false;
    }
  }

  get locked(): boolean {
    return this.handle.name === 'held';
  }

  /** As it was read or written last; undefined for a session that is not stored. */
  get record(): SessionRecord | undefined {
    return this.handle.record;
  }

  /** Whether a record of this session exists, as far as this request knows. */
  get isStored(): boolean {
    return this.handle.record !== undefined;
  }

  /** Stores what has changed, and frees the lock. */
  protected async storeNow(): Promise<void> {
    const { name } = this.handle;
    if (name === 'read' || name === 'unsure') {
      // Also if the client has gone: the handler did its work.
      await this.refresh(true, { waitMs: this.runtime.options.lockTimeoutMs });
    }
    this.throwIfEnded();
    await (this.locked ? this.write(true) : this.create(false));
  }

  /** Whether there is something to store. */
  protected get mustStore(): boolean {
    if (this.handle.name !== 'new') {
      return this.values.isChanged(this.handle.record);
    }
    // Of what was destroyed or asked to expire, nothing is stored unasked.
    const isWanted = this.runtime.options.saveUninitialized && !this.isCookieExpired && !this.isDestroyed;
    return this.values.isFilled && (isWanted || !this.values.isEmpty);
  }

  protected throwIfEnded(): void {
    if (this.handle.endedBy) {
      throw this.handle.endedBy;
    }
  }

  /** Whether a use takes the lock. */
  private get locks(): boolean {
    return this.locking !== 'explicit' && this.mayLock && !this.isCommitted;
  }

  /** The first look at the storage. */
  private async readFirst(lock: boolean, readOnly: boolean): Promise<void> {
    const { handle, values, runtime } = this;
    if (this.identify) {
      this.adoptSent(await this.identify());
    }
    if (this.originalId === undefined) {
      handle.begin();
      return;
    }
    await (lock ? handle.acquire(this.key, this.wait(), true) : handle.read(this.key));
    const { record } = handle;
    const data = record && this.isAlive(record) ? runtime.parse(this.key, record) : undefined;
    if (record && data) {
      this.isNew = false;
      this.isCookieDue = this.identify !== undefined; // it takes the place of another one, or of several
      if (readOnly) {
        values.show(data, record);
        Object.assign(values, { owner: record.owner, timeout: record.timeout });
      } else {
        values.fill(data, record);
      }
      return;
    }
    if (record) {
      const freed = handle.release();
      handle.begin();
      await freed;
    }
    this.missing = true;
    this.setId(undefined); // the client's id is never taken over
  }

  /** Takes the lock, or reads again without it; what this request changed since it read before stays. */
  private async refresh(lock: boolean, wait = this.wait()): Promise<void> {
    const { handle, values, runtime } = this;
    const before = handle.record;
    await (lock ? handle.acquire(this.key, wait, this.locking !== 'explicit') : handle.read(this.key));
    this.throwIfEnded();
    const { record } = handle;
    const fresh = record && runtime.parse(this.key, record);
    if (record && !fresh) {
      await handle.release();
      throw new SessionDestroyedException();
    }
    if (record && fresh && values.isFilled) {
      values.merge(before, record, fresh);
    }
  }

  private async write(release: boolean): Promise<void> {
    await this.handle.save(this.toWrite(), release);
    this.isCookieDue = true;
  }

  private async create(keepLock: boolean): Promise<void> {
    const write = this.toWrite();
    for (let tries = 1; !(await this.handle.create(this.key, write, keepLock)); tries++) {
      if (tries === CREATE_TRIES) {
        throw new Error('generateId returns ids that are taken; they must be random');
      }
      this.setId(this.runtime.options.generateId());
    }
    this.isCookieDue = true;
  }

  private toWrite(): SessionWrite {
    const { maxSize } = this.runtime.options;
    const { owner, timeout } = this.values;
    const data = this.values.stringify();
    // Three bytes a character at most: most data needs no count.
    const size = data.length * 3 > maxSize ? Buffer.byteLength(data) : 0;
    if (size > maxSize) {
      throw new SessionSizeException(size, maxSize);
    }
    const ttl = this.ttl();
    if (ttl <= 0) {
      throw new SessionDestroyedException(); // its lifetime ended during the request
    }
    return { data, owner, timeout, createdAt: this.handle.record?.createdAt, ttl };
  }

  /** A log-in or log-out that waited for a session which ended meanwhile begins anew. */
  private beginIfEndedWhileWaiting(): void {
    if (this.handle.endedBy && !this.isStored) {
      this.handle.forget();
    }
  }

  /** A lifetime that was shortened since the record was written counts too. */
  private isAlive({ createdAt }: { createdAt: number }): boolean {
    return createdAt + this.runtime.options.lifetimeMs > Date.now();
  }

  private ttl(): number {
    return this.runtime.timeToLive(this.values.timeout, this.createdAt);
  }

  private adoptSent(sent: SentId | null | undefined): void {
    this.missing = sent === null;
    this.originalId = sent?.id;
    this.setId(sent?.id, sent?.key);
  }

  private setId(id: string | undefined, key = id === undefined ? undefined : sessionKey(id)): void {
    this.currentId = id;
    this.currentKey = key;
  }

  /** @param timeout seconds; default: the option's */
  private wait(timeout?: number): LockWait {
    const waitMs = timeout === undefined ? this.runtime.options.lockTimeoutMs : timeout * 1000;
    return { waitMs: Math.min(waitMs, MAX_TIMER), client: this };
  }
}
