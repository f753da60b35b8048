import {
  SessionDestroyedException,
  SessionLeaseLostException,
  SessionRequestClosedException,
  SessionSizeException,
} from '../exceptions/session.exception.js';
import type { SessionLockingMode } from '../options/session-options.js';
import type { HeldLock } from '../storage/lock-queue.js';
import type { SessionRecord, SessionWrite } from '../storage/session-backend.js';
import { findChanges, replaceValues } from './merge.js';
import { ReadOnlySessionDict, SessionDict } from './session-dict.js';
import { sessionKey } from './session-id.js';
import type { SessionManager } from './session-manager.js';
import type { Session, SessionIdListener } from './session.js';

type Values = Record<string, unknown>;

/** What the response has to do about the cookie. */
export type CookieChange = 'none' | 'set' | 'clear';

/** How often a new id that is taken already is drawn again; with random ids it never is. */
const CREATE_TRIES = 3;

/**
 * One session in use, by one request or one `SessionStore.update()`: it is loaded, changed in memory and
 * committed. Knows no HTTP.
 *
 * - `stored` is the record as this request knows it; undefined for a session that is not stored.
 * - `lock` is the lock while it is held. Saves without it lock, merge and save.
 */
export class ActiveSession {
  /** The dictionary that the application works with; always the same one. */
  readonly session: Session = new SessionDict(this);
  /** May be set per route before the first use. */
  locking: SessionLockingMode;
  missing = false;
  isNew = true;
  regenerated = false;
  loaded = false;
  owner: string | undefined;

  private stored: SessionRecord | undefined;
  private lock: HeldLock | undefined;
  private values: Values = {};
  private ownTimeout: number | undefined;
  private currentId: string | undefined;
  private currentKey: string | undefined;
  private readonly startedAt = Date.now();
  private loading: Promise<void> | undefined;
  private frozen: Session | undefined;
  /** Only ever taken with `readOnly`: then `values` is not filled, and a touch is not due at each request. */
  private onlyRead = true;
  private destroyed = false;
  private committed = false;
  private failed = false;
  private cookieExpired = false;
  private closed: AbortController | undefined;
  /** How often the application reached for the data, and how often it had when all of it was stored. */
  private uses = 0;
  private usesAtCommit = -1;
  private readonly idListeners = new Set<SessionIdListener>();

  /** @param originalId the id that the client sent: well-formed, and signed if need be */
  constructor(
    private readonly manager: SessionManager,
    readonly originalId?: string,
  ) {
    this.locking = manager.options.locking;
    if (originalId !== undefined) {
      this.setId(originalId);
    }
  }

  get id(): string {
    if (this.currentId === undefined) {
      this.setId(this.manager.options.generateId());
    }
    return this.currentId!;
  }

  get key(): string {
    return this.currentKey ?? (this.setId(this.id), this.currentKey!);
  }

  get locked(): boolean {
    return this.lock !== undefined;
  }

  /** Whether a record of this session exists, as far as this request knows. */
  get isStored(): boolean {
    return this.stored !== undefined;
  }

  /** The owner that the record names, whatever this request has set since. */
  get storedOwner(): string | undefined {
    return this.stored?.owner;
  }

  get createdAt(): number {
    return this.stored?.createdAt ?? this.startedAt;
  }

  get expiresAt(): number {
    return this.stored?.expiresAt ?? Date.now() + this.ttl();
  }

  get timeout(): number {
    return this.ownTimeout ?? this.manager.options.timeout;
  }

  set timeout(minutes: number) {
    this.ownTimeout = minutes;
  }

  /** The live data. Counted, so that a commit knows whether there can be later changes. */
  useValues(): Values {
    this.uses++;
    return this.values;
  }

  /** The frozen view of the data as it is stored. */
  get readOnlySession(): Session {
    this.frozen ??= new ReadOnlySessionDict(this, this.parseStored());
    return this.frozen;
  }

  /** Reads the session, once; locks it, unless told not to. Calls at the same time share the work. */
  load({ readOnly = false } = {}): Promise<void> {
    if (this.loaded && (readOnly || (!this.onlyRead && !this.mustLock()))) {
      return Promise.resolve();
    }
    const next = (this.loading ?? Promise.resolve()).then(() => this.loadNext(readOnly));
    // A failure is the caller's to handle; the next caller tries again.
    this.loading = next.catch(() => undefined);
    return next;
  }

  async reload(): Promise<void> {
    const record = this.stored && (await this.manager.backend.read(this.key));
    const values = record && this.manager.parse(this.key, record);
    if (!record || !values) {
      throw new SessionDestroyedException();
    }
    this.adopt(record);
    replaceValues(this.values, values);
  }

  async save(): Promise<void> {
    const text = this.serialize();
    if (!this.stored) {
      await this.create(text, this.locking !== 'explicit');
    } else if (this.isChanged(text)) {
      if (this.lock) {
        await this.requireSaved(this.lock.save(this.toWrite(text)));
        this.stored = this.lock.record;
      } else {
        await this.mergeAndSave();
      }
    }
  }

  async touch(): Promise<void> {
    if (this.stored) {
      const ttl = this.ttl();
      if (!(await this.manager.backend.touch(this.key, ttl))) {
        throw new SessionDestroyedException();
      }
      this.stored = { ...this.stored, expiresAt: Date.now() + ttl };
    }
  }

  async regenerate(): Promise<void> {
    const previousId = this.id;
    if (this.stored) {
      await this.moveToNewKey();
    } else {
      this.setId(this.manager.options.generateId());
    }
    this.regenerated = true;
    for (const listener of this.idListeners) {
      listener(this.id, previousId);
    }
  }

  async destroy(): Promise<void> {
    if (this.stored) {
      await this.manager.backend.delete(this.key);
    }
    this.markDestroyed();
  }

  /** Forgets a session whose record was removed; what is written from now on is a new session's. */
  markDestroyed(): void {
    this.lock?.forget();
    this.lock = undefined;
    this.stored = undefined;
    replaceValues(this.values, {});
    this.owner = undefined;
    this.ownTimeout = undefined;
    this.currentId = undefined;
    this.currentKey = undefined;
    this.isNew = true;
    this.destroyed = true;
  }

  expire(): void {
    this.cookieExpired = true;
  }

  /** @param timeout seconds; default: the option's */
  async acquireLock(timeout?: number): Promise<void> {
    if (this.lock || !this.stored) {
      return;
    }
    const waitMs = timeout === undefined ? this.manager.options.lockTimeoutMs : timeout * 1000;
    const lock = await this.acquire(waitMs);
    const fresh = lock && this.manager.parse(this.key, lock.record);
    if (!lock || !fresh) {
      void lock?.release();
      throw new SessionDestroyedException();
    }
    this.lock = lock;
    const before = this.manager.options.serializer.parse(this.stored.data);
    const changes = findChanges(before, this.values, this.manager.options.serializer);
    const { owner, timeout: minutes } = this.stored;
    const mine = { owner: this.owner, timeout: this.ownTimeout };
    this.adopt(lock.record);
    replaceValues(this.values, fresh, changes);
    // As with the keys: what this request changed stays, the rest is as stored.
    this.owner = mine.owner === owner ? lock.record.owner : mine.owner;
    this.ownTimeout = mine.timeout === minutes ? lock.record.timeout : mine.timeout;
  }

  async releaseLock(): Promise<void> {
    const { lock } = this;
    if (lock && this.stored) {
      const text = this.serialize();
      if (this.isChanged(text)) {
        await this.saveAndRelease(lock, text);
      } else {
        this.lock = undefined;
        await lock.release();
      }
    }
  }

  onIdChange(listener: SessionIdListener): () => void {
    this.idListeners.add(listener);
    return () => this.idListeners.delete(listener);
  }

  /**
   * Ends the work: stores what has changed and frees the lock; an unchanged session is touched behind the
   * response's back. Called again, it stores what has changed since.
   * @param options.drop the request failed: changes are not stored
   * @returns undefined if there is nothing to wait for
   */
  commit({ drop = false } = {}): Promise<void> | undefined {
    if (!this.loaded || this.failed || this.usesAtCommit === this.uses) {
      return undefined;
    }
    let text: string | undefined;
    try {
      text = drop || this.isUntouched ? undefined : this.serialize();
    } catch (error) {
      this.fail();
      return Promise.reject(error);
    }
    const isRepeated = this.committed;
    this.committed = true;
    this.usesAtCommit = this.uses;
    if (text !== undefined && this.mustStore(text)) {
      return this.store(text).catch(error => {
        this.fail();
        throw error;
      });
    }
    if (!isRepeated) {
      this.releaseUnchanged();
    }
    return undefined;
  }

  /** The client has gone: whoever still waits for the lock stops waiting. */
  close(): void {
    (this.closed ??= new AbortController()).abort();
  }

  /** Frees the lock without storing or touching anything. */
  abandon(): void {
    this.committed = true;
    this.usesAtCommit = this.uses;
    if (this.lock) {
      this.manager.background(this.lock.release());
      this.lock = undefined;
    }
  }

  cookieChange(): CookieChange {
    // Once the id has changed the old one is dead: the client needs the new one, whatever failed since.
    if (!this.loaded || (this.failed && !this.regenerated)) {
      return 'none';
    }
    if (this.stored && !this.cookieExpired) {
      return 'set';
    }
    // Unless the application says so, an unknown id is left alone: it may be another application's cookie.
    return this.cookieExpired || (this.destroyed && this.originalId !== undefined) ? 'clear' : 'none';
  }

  private async loadNext(readOnly: boolean): Promise<void> {
    if (!this.loaded) {
      if (this.originalId !== undefined) {
        await this.loadStored(!readOnly && this.locking !== 'explicit');
      }
      this.loaded = true;
    } else if (!readOnly && this.onlyRead) {
      this.values = this.parseStored();
    }
    this.onlyRead &&= readOnly;
    if (!readOnly && this.mustLock()) {
      await this.acquireLock();
    }
  }

  private async loadStored(locked: boolean): Promise<void> {
    const lock = locked ? await this.acquire(this.manager.options.lockTimeoutMs) : undefined;
    const record = locked ? lock?.record : await this.manager.backend.read(this.key);
    const values = record && this.isAlive(record) ? this.manager.parse(this.key, record) : undefined;
    if (record && values) {
      this.lock = lock;
      this.isNew = false;
      this.values = values;
      this.adopt(record);
    } else {
      void lock?.release().catch(() => undefined);
      this.missing = true;
      // The client's id is never taken over.
      this.currentId = undefined;
      this.currentKey = undefined;
    }
  }

  /** Whether the lock is to be had and is not: the session was read without it before. */
  private mustLock(): boolean {
    return this.stored !== undefined && !this.lock && !this.committed && this.locking !== 'explicit';
  }

  private parseStored(): Values {
    return (this.stored && this.manager.parse(this.key, this.stored)) ?? {};
  }

  private async acquire(waitMs: number): Promise<HeldLock | undefined> {
    const { signal } = (this.closed ??= new AbortController());
    const lock = await this.manager.locks.acquire(this.key, { waitMs, signal });
    if (lock && signal.aborted) {
      void lock.release().catch(() => undefined);
      throw new SessionRequestClosedException();
    }
    return lock;
  }

  /** A lifetime that was shortened since the record was written counts too. */
  private isAlive(record: SessionRecord): boolean {
    return record.createdAt + this.manager.options.lifetimeMs > Date.now();
  }

  private adopt(record: SessionRecord): void {
    this.stored = record;
    this.owner = record.owner;
    this.ownTimeout = record.timeout;
  }

  private setId(id: string): void {
    this.currentId = id;
    this.currentKey = sessionKey(id);
  }

  private ttl(): number {
    return this.manager.timeToLive(this.ownTimeout, this.createdAt);
  }

  private serialize(): string {
    return this.manager.options.serializer.stringify(this.values);
  }

  /** Whether the application cannot have changed anything: it never had the data in hand. */
  private get isUntouched(): boolean {
    return this.onlyRead || (this.uses === 0 && this.stored !== undefined);
  }

  private isChanged(text: string): boolean {
    const { stored } = this;
    return text !== stored?.data || this.owner !== stored.owner || this.ownTimeout !== stored.timeout;
  }

  private mustStore(text: string): boolean {
    if (this.stored) {
      return this.isChanged(text);
    }
    const isEmpty =
      Object.keys(this.values).length === 0 && this.owner === undefined && this.ownTimeout === undefined;
    // Of what was destroyed or asked to expire, nothing is stored unasked.
    return !isEmpty || (this.manager.options.saveUninitialized && !this.cookieExpired && !this.destroyed);
  }

  private toWrite(text: string): SessionWrite {
    const { maxSize } = this.manager.options;
    // Three bytes a character at most: most data needs no count.
    const size = text.length * 3 > maxSize ? Buffer.byteLength(text) : 0;
    if (size > maxSize) {
      throw new SessionSizeException(size, maxSize);
    }
    const ttl = this.ttl();
    if (ttl <= 0) {
      throw new SessionDestroyedException(); // its lifetime ended during the request
    }
    return {
      data: text,
      owner: this.owner,
      timeout: this.ownTimeout,
      createdAt: this.stored?.createdAt,
      ttl,
    };
  }

  private async store(text: string): Promise<void> {
    if (!this.stored) {
      await this.create(text, false);
    } else if (this.lock) {
      await this.saveAndRelease(this.lock, text);
    } else {
      await this.mergeAndSave();
    }
  }

  private async saveAndRelease(lock: HeldLock, text: string): Promise<void> {
    const write = this.toWrite(text); // which may throw: the lock is still in hand then
    this.lock = undefined;
    await this.requireSaved(lock.saveAndRelease(write));
    this.stored = lock.record;
  }

  /** Without the lock: this request's changes go into what is stored by now, under the lock. */
  private async mergeAndSave(): Promise<void> {
    await this.acquireLock();
    await this.releaseLock();
  }

  private async requireSaved(saving: Promise<boolean>): Promise<void> {
    if (!(await saving)) {
      const exists = await this.manager.backend.read(this.key);
      throw exists ? new SessionLeaseLostException() : new SessionDestroyedException();
    }
  }

  private async create(text: string, locked: boolean): Promise<void> {
    const lease = locked ? this.manager.locks.newLease() : undefined;
    const write = this.toWrite(text);
    for (let tries = 1; !(await this.manager.backend.create(this.key, write, lease)); tries++) {
      if (tries === CREATE_TRIES) {
        throw new Error('generateId returns ids that are taken; they must be random');
      }
      this.setId(this.manager.options.generateId());
    }
    const now = Date.now();
    const { data, owner, timeout, ttl } = write;
    this.stored = { data, owner, timeout, createdAt: now, expiresAt: now + ttl };
    if (lease) {
      this.lock = this.manager.locks.adopt(this.key, lease, this.stored);
    }
  }

  /** The record as stored goes to a new key, locked; what this request changed stays to be committed. */
  private async moveToNewKey(): Promise<void> {
    await this.acquireLock();
    const { backend, locks, options } = this.manager;
    const oldKey = this.key;
    const id = options.generateId();
    const key = sessionKey(id);
    const stored = this.stored!;
    const lease = locks.newLease();
    const { data, owner, timeout, createdAt } = stored;
    const write = { data, owner, timeout, createdAt, ttl: this.manager.timeToLive(timeout, createdAt) };
    if (!(await backend.create(key, write, lease))) {
      throw new Error('generateId returns ids that are taken; they must be random');
    }
    try {
      // New first: a crash in between leaves two records, never none. And if someone destroyed the session
      // before, it must not live on under the new key.
      if (!(await backend.delete(oldKey))) {
        throw new SessionDestroyedException();
      }
    } catch (error) {
      this.manager.background(backend.delete(key));
      throw error;
    }
    this.lock!.forget();
    this.currentId = id;
    this.currentKey = key;
    this.stored = { ...stored, expiresAt: Date.now() + write.ttl };
    this.lock = locks.adopt(key, lease, this.stored);
    if (this.locking === 'explicit') {
      await this.lock.release();
      this.lock = undefined;
    }
  }

  private releaseUnchanged(): void {
    const { lock, stored } = this;
    this.lock = undefined;
    if (!stored) {
      return;
    }
    const ttl = this.ttl();
    const expiresAt = Date.now() + ttl;
    const { touchAfterMs } = this.manager.options;
    // A read-only request costs one read; the few touches that keep an active session alive are enough.
    const rest = this.onlyRead ? Math.max(touchAfterMs, ttl / 2) : touchAfterMs;
    const isDue = ttl > 0 && expiresAt - stored.expiresAt >= rest;
    if (isDue) {
      this.stored = { ...stored, expiresAt };
    }
    if (lock) {
      this.manager.background(lock.release(isDue ? ttl : undefined));
    } else if (isDue) {
      this.manager.background(this.manager.backend.touch(this.key, ttl));
    }
  }

  private fail(): void {
    this.failed = true;
    this.abandon();
  }
}
