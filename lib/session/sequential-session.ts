import { SessionDestroyedException } from '../exceptions/session.exception.js';
import type { LockClient, LockWait } from '../locking/waiter.js';
import type { SessionLockingMode } from '../options/session-options.js';
import type { SessionRecord, SessionWrite } from '../storage/session-backend.js';
import { LiveValues } from './live-values.js';
import { RecordHandle } from './record-handle.js';
import { SessionIdentity, type Identify, type SentId } from './session-identity.js';
import { NOTHING, type StoredValues } from './session-codec.js';
import { sessionKey } from './session-id.js';
import type { SessionRuntime } from './session-runtime.js';

const CREATE_TRIES = 3; // with random ids, the first one is free
const IDS_TAKEN = 'generateId returns ids that are taken; they must be random';

/**
 * What each operation of one session in use does in each state. Here alone the two halves meet: the values that the
 * application holds, and the record and its lock. `OpenSession` puts the operations in order.
 */
export abstract class SequentialSession extends SessionIdentity implements LockClient {
  readonly values: LiveValues;
  /** May be set per route before the first use. */
  locking: SessionLockingMode;
  /** Whether a use may wait for the lock: not before the route is entered, nor once the answer has begun. */
  mayLock = true;
  /** Whether a use prolongs it; false as long as all who use it say that they do not. Undefined: nobody has said anything. */
  touches: boolean | undefined;
  abstract readonly givenUp: Error | undefined;
  cancelWait: (() => void) | undefined;

  protected readonly handle: RecordHandle;
  protected isCommitted = false;
  protected isDestroyed = false;
  protected isReplaced = false;
  /** The client needs the cookie: its id is new, or it lives longer now. */
  protected isCookieDue = false;
  protected isCookieExpired = false;
  /** What the application's wish failed with that this session, or its id, be gone, as long as it is not. */
  protected notEnded: { reason: unknown } | undefined;
  private readonly startedAt = Date.now();

  constructor(
    readonly runtime: SessionRuntime,
    sent?: SentId | null,
    private readonly identify?: Identify,
  ) {
    super(runtime.options.generateId, sent);
    this.handle = new RecordHandle(runtime);
    this.values = new LiveValues(runtime.options.serializer);
    this.locking = runtime.options.locking;
  }

  /** As it was read or written last; undefined for a session that is not stored. */
  get record(): SessionRecord | undefined {
    return this.handle.record;
  }

  get isStored(): boolean {
    return this.record !== undefined;
  }

  get locked(): boolean {
    return this.handle.state.name === 'held';
  }

  get createdAt(): number {
    return this.record?.createdAt ?? this.startedAt;
  }

  get persistent(): boolean {
    return (this.record ?? this.values).persistent ?? this.runtime.options.persistent;
  }

  get expiresAt(): number {
    return this.record?.expiresAt ?? Date.now() + this.ttl();
  }

  /** Reads the session, if that has not happened, and takes the lock, unless it is only read. */
  async loadNow(readOnly = false): Promise<void> {
    const lock = !readOnly && this.locks;
    const { name } = this.handle.state;
    if (name === 'unread') {
      await this.readFirst(lock, readOnly);
    } else if (name === 'unsure' || (name === 'read' && lock)) {
      await this.refresh(lock);
    }
    if (!readOnly && !this.values.isFilled) {
      this.values.start(this.parse() ?? NOTHING, this.record);
    }
  }

  async reloadNow(): Promise<void> {
    const { handle } = this;
    this.throwIfEnded();
    if (handle.state.name === 'unsure') {
      await this.refresh(this.locks);
    } else if (handle.state.name !== 'new') {
      await handle.read(this.key); // does not wait for the lock: this request may have it
    }
    this.throwIfEnded();
    this.values.start(this.parseOrThrow() ?? NOTHING, this.record);
  }

  /** Stores what there is, also if nothing has changed: who calls it wants it stored. */
  async saveNow(): Promise<void> {
    const keepsLock = this.locked || this.locks;
    await this.lockNow();
    if (this.locked) {
      await this.write(!keepsLock);
    } else {
      this.throwIfTooLate();
      await this.create(keepsLock);
    }
  }

  async touchNow(): Promise<void> {
    if (this.handle.state.name === 'unsure') {
      await this.refresh(this.locks);
    }
    this.throwIfEnded();
    this.touches = true;
    if (this.isStored) {
      await this.handle.touch(this.ttl());
      this.throwIfEnded();
      this.isCookieDue = true;
    }
  }

  async regenerateNow(): Promise<void> {
    this.throwIfTooLate();
    const { handle, runtime } = this;
    const keepsLock = this.locked || this.locks;
    if (handle.state.name === 'ended' && !this.isStored) {
      handle.forget(); // a log-in that waited for a session which ended meanwhile begins anew
    }
    await this.lockNow();
    const id = runtime.options.generateId();
    if (this.locked) {
      const { timeout, createdAt } = this.record!;
      const ttl = runtime.timeToLive(timeout, createdAt);
      if (!(await this.ending(handle.move(sessionKey(id), ttl)))) {
        throw new Error(IDS_TAKEN);
      }
      this.isCookieDue = true;
    }
    const tell = this.changeId(id);
    if (!keepsLock) {
      await handle.release();
    }
    tell();
  }

  /** @param isReplaced a new session begins in its place, as any other does */
  async destroyNow(isReplaced = false): Promise<void> {
    if (this.isStored || this.handle.state.name === 'unsure') {
      await this.ending(this.handle.delete(this.key));
    }
    this.forgetNow();
    this.isReplaced = isReplaced;
  }

  /** Forgets a session whose record is gone; what is written from now on is a new session's. */
  forgetNow(): void {
    this.handle.forget();
    this.values.start(NOTHING);
    this.dropId();
    this.isNew = true;
    this.isDestroyed = true;
    this.isReplaced = false;
  }

  async lockNow(wait = this.wait()): Promise<void> {
    const { name } = this.handle.state;
    if (name === 'read' || name === 'unsure') {
      await this.refresh(true, wait);
    }
    this.throwIfEnded();
  }

  async releaseLockNow(): Promise<void> {
    if (this.locked) {
      await (this.values.isChanged(this.record) ? this.write(true) : this.handle.release());
    }
  }

  /** @param timeout seconds; default: the option's */
  wait(timeout?: number): LockWait {
    const waitMs = (timeout ?? this.runtime.options.lockTimeout) * 1000;
    return { waitMs, client: this };
  }

  protected async write(release: boolean): Promise<void> {
    const { timeout, persistent } = this.record!;
    await this.handle.save(this.toWrite(), release);
    const { values } = this;
    const isCookieAsBefore =
      this.touches === false && values.timeout === timeout && values.persistent === persistent;
    this.isCookieDue ||= !isCookieAsBefore;
  }

  protected async create(keepLock: boolean): Promise<void> {
    const write = { ...this.toWrite(), isFreshKey: this.runtime.drawsIds };
    for (let tries = 1; !(await this.handle.create(this.key, write, keepLock)); tries++) {
      if (tries === CREATE_TRIES) {
        throw new Error(IDS_TAKEN);
      }
      this.dropId();
    }
    this.isCookieDue = true;
  }

  private get locks(): boolean {
    return this.locking !== 'explicit' && this.mayLock && !this.isCommitted;
  }

  private async readFirst(lock: boolean, readOnly: boolean): Promise<void> {
    const { handle, values, runtime } = this;
    if (this.identify) {
      this.adoptSent(await this.identify());
    }
    if (this.originalId === undefined) {
      handle.forget();
      return;
    }
    await (lock ? handle.acquire(this.key, this.wait(), true) : handle.read(this.key));
    const { record } = this;
    const data = this.parse();
    const isAlive = data && record!.createdAt + runtime.lifetimeMs > Date.now(); // it may be shorter now
    const stored = isAlive ? data : undefined;
    this.isNew = this.missing = !stored;
    if (stored) {
      values.start(stored, record, readOnly);
      this.isCookieDue = this.identify !== undefined; // it takes the place of another one, or of several
      return;
    }
    this.dropId(); // the client's id is never taken over
    if (record) {
      runtime.background(handle.release());
      handle.forget();
    }
  }

  /** Takes the lock, or reads again without it; what this request changed since it read before stays. */
  private async refresh(lock: boolean, wait = this.wait()): Promise<void> {
    const { handle, values } = this;
    const { record: before, state } = handle;
    await (lock ? handle.acquire(this.key, wait, this.locking !== 'explicit') : handle.read(this.key));
    this.throwIfEnded();
    const fresh = this.parseOrThrow();
    if (fresh && values.isFilled) {
      // What a save of this request has stored, though it failed, is no change of another's.
      const isOwn = state.name === 'unsure' && this.record!.data === state.written;
      values.merge(isOwn ? this.record : before, this.record!, fresh);
    }
  }

  private async ending<T>(work: Promise<T>): Promise<T> {
    try {
      const result = await work;
      this.notEnded = undefined;
      return result;
    } catch (reason) {
      this.notEnded = this.handle.state.name === 'ended' ? undefined : { reason };
      throw reason;
    }
  }

  private throwIfEnded(): void {
    const { state } = this.handle;
    if (state.name === 'ended') {
      throw state.reason;
    }
  }

  private toWrite(): SessionWrite {
    const { codec, options } = this.runtime;
    const ttl = this.ttl();
    if (ttl <= 0) {
      throw new SessionDestroyedException(); // its lifetime ended during the request
    }
    const write = this.values.toWrite(live => codec.write(this.key, live), options.maxSize);
    return { ...write, createdAt: this.record?.createdAt, ttl };
  }

  /** The record's data; undefined if there is none that can be read. */
  private parse(): StoredValues | undefined {
    return this.record && this.runtime.parse(this.key, this.record);
  }

  /** @throws SessionDestroyedException for data that cannot be read: it counts as missing */
  private parseOrThrow(): StoredValues | undefined {
    const stored = this.parse();
    if (this.record && !stored) {
      this.runtime.background(this.handle.release());
      throw new SessionDestroyedException();
    }
    return stored;
  }

  private ttl(): number {
    const { record } = this;
    if (this.touches === false && record && record.timeout === this.values.timeout) {
      return record.expiresAt - Date.now();
    }
    return this.runtime.timeToLive(this.values.timeout, this.createdAt);
  }
}
