import { SessionDestroyedException, SessionSizeException } from '../exceptions/session.exception.js';
import type { SessionLockingMode } from '../options/session-options.js';
import type { LockClient, LockWait } from '../storage/lock-line.js';
import type { SessionRecord, SessionWrite } from '../storage/session-backend.js';
import { findChanges, replaceValues } from './merge.js';
import { ReadOnlySessionDict, SessionDict } from './session-dict.js';
import { sessionKey } from './session-id.js';
import type { SessionManager } from './session-manager.js';
import type { Session, SessionIdListener } from './session.js';
import { StoredSession } from './stored-session.js';

type Values = Record<string, unknown>;

/** What the response has to do about the cookie. */
export type CookieChange = 'none' | 'set' | 'clear';

/** How often a new id that is taken already is drawn again; with random ids it never is. */
const CREATE_TRIES = 3;

/**
 * One session in use, by one request or one `SessionStore.update()`: it is loaded, changed in memory and
 * committed. Knows no HTTP.
 */
export class ActiveSession implements LockClient {
  /** The dictionary that the application works with; always the same one. */
  readonly session: Session = new SessionDict(this);
  readonly originalId: string | undefined;
  /** May be set per route before the first use. */
  locking: SessionLockingMode;
  missing: boolean;
  isNew = true;
  regenerated = false;
  loaded = false;
  owner: string | undefined;

  private readonly stored: StoredSession;
  private values: Values = {};
  private ownTimeout: number | undefined;
  private currentId: string | undefined;
  private currentKey: string | undefined;
  private readonly startedAt = Date.now();
  private loading: Promise<void> | undefined;
  /** What a read-only load found, until it is frozen. Others may have the same objects. */
  private found: Values | undefined;
  private frozen: Session | undefined;
  /** Only ever taken with `readOnly`: then `values` is not filled, and a touch is not due at each request. */
  private onlyRead = true;
  private destroyed = false;
  private committed = false;
  /** The client has its answer, or has hung up. */
  isGone = false;
  private failed = false;
  /** The client needs the cookie: its id is new, or it lives longer now. */
  private cookieDue = false;
  private cookieExpired = false;
  /** How often the application reached for the data, and how often it had when all of it was stored. */
  private uses = 0;
  private usesAtCommit = -1;
  private idListeners: Set<SessionIdListener> | undefined;
  private gone: AbortController | undefined;

  /**
   * @param sentId the id that the client sent, well-formed, and signed if need be; null for a cookie that holds
   * no such id
   * @param sentKey its key, if the caller knows it
   * @param bringIn makes the record that the client named in another way, before it is looked for
   */
  constructor(
    private readonly manager: SessionManager,
    sentId?: string | null,
    sentKey?: string,
    private readonly bringIn?: () => Promise<void>,
  ) {
    this.stored = new StoredSession(manager);
    this.locking = manager.options.locking;
    this.missing = sentId === null;
    this.originalId = sentId ?? undefined;
    if (this.originalId !== undefined) {
      this.setId(this.originalId, sentKey);
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
    return this.stored.isLocked;
  }

  /** Whether it was loaded to be worked with, not only to be read. */
  get isUsable(): boolean {
    return this.loaded && !this.onlyRead;
  }

  /** Whether a record of this session exists, as far as this request knows. */
  get isStored(): boolean {
    return this.stored.record !== undefined;
  }

  /** The owner that the record names, whatever this request has set since. */
  get storedOwner(): string | undefined {
    return this.stored.record?.owner;
  }

  get createdAt(): number {
    return this.stored.record?.createdAt ?? this.startedAt;
  }

  get expiresAt(): number {
    return this.stored.record?.expiresAt ?? Date.now() + this.ttl();
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
    if (!this.frozen) {
      this.frozen = new ReadOnlySessionDict(this, this.found ?? this.parseStored({ shared: true }));
      this.found = undefined;
    }
    return this.frozen;
  }

  /** Reads the session, once; locks it, unless told not to. Calls at the same time share the work. */
  load({ readOnly = false } = {}): Promise<void> {
    if (this.loaded && (readOnly || (!this.onlyRead && !this.mustLock()))) {
      return Promise.resolve();
    }
    const loadNext = () => this.loadNext(readOnly);
    // A failure is its caller's to handle; the next caller tries again.
    this.loading = this.loading ? this.loading.then(loadNext, loadNext) : loadNext();
    return this.loading;
  }

  async reload(): Promise<void> {
    if (this.isStored) {
      const exists = await this.stored.read(this.key);
      const values = exists ? this.manager.parse(this.key, this.stored.record!) : undefined;
      if (!values) {
        throw new SessionDestroyedException();
      }
      this.adopt(values);
    } else {
      replaceValues(this.values, {});
    }
  }

  async save(): Promise<void> {
    const text = this.serialize();
    if (!this.isStored) {
      await this.create(text, this.locking !== 'explicit');
    } else if (this.isChanged(text)) {
      await (this.locked ? this.saveLocked(text, false) : this.mergeAndSave());
    } else {
      await this.stored.settle();
    }
  }

  /** Runs a task; if it fails, what it changed and did not store is undone. */
  async orRestore<T>(task: () => Promise<T> | T): Promise<T> {
    const { owner, ownTimeout } = this;
    const { record } = this.stored;
    const text = this.serialize();
    try {
      return await task();
    } catch (error) {
      if (record === this.stored.record) {
        replaceValues(this.values, this.manager.options.serializer.parse(text));
        Object.assign(this, { owner, ownTimeout });
      }
      throw error;
    }
  }

  async touch(): Promise<void> {
    if (this.isStored) {
      if (!(await this.stored.touch(this.ttl()))) {
        throw new SessionDestroyedException();
      }
      this.cookieDue = true;
    }
  }

  async regenerate(): Promise<void> {
    const previousId = this.id;
    const id = this.manager.options.generateId();
    if (this.isStored) {
      const keepLock = this.locked || this.locking !== 'explicit';
      await this.acquireLock();
      const { timeout, createdAt } = this.stored.record!;
      if (!(await this.stored.move(sessionKey(id), this.manager.timeToLive(timeout, createdAt)))) {
        throw new Error('generateId returns ids that are taken; they must be random');
      }
      this.cookieDue = true;
      if (!keepLock) {
        await this.stored.releaseNow();
      }
    }
    this.setId(id);
    this.regenerated = true;
    for (const listener of this.idListeners ?? []) {
      listener(id, previousId);
    }
  }

  async destroy(): Promise<void> {
    if (this.isStored) {
      await this.stored.delete();
    }
    this.markDestroyed();
  }

  /** Forgets a session whose record was removed; what is written from now on is a new session's. */
  markDestroyed(): void {
    this.stored.forget();
    this.found = undefined;
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
    if (!this.locked && this.isStored) {
      await this.lockAndMerge(this.wait(timeout));
    }
  }

  async releaseLock(): Promise<void> {
    if (this.locked) {
      const text = this.serialize();
      await (this.isChanged(text) ? this.saveLocked(text, true) : this.stored.releaseNow());
    }
  }

  onIdChange(listener: SessionIdListener): () => void {
    const listeners = (this.idListeners ??= new Set());
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  /**
   * Ends the work: stores what has changed and frees the lock; an unchanged session is touched. Called again, it
   * stores what has changed since.
   * @param options.drop the request failed: changes are not stored
   * @param options.recheck looks for changes also if the application did not reach for the data since: it may
   * have kept a part of it
   * @returns undefined if there is nothing to wait for
   */
  commit({ drop = false, recheck = false } = {}): Promise<void> | undefined {
    if (!this.loaded || this.failed || (this.usesAtCommit === this.uses && !recheck)) {
      return undefined;
    }
    const isRepeated = this.committed;
    this.committed = true;
    this.usesAtCommit = this.uses;
    try {
      const text = drop || this.isUntouched ? undefined : this.serialize();
      const work =
        text !== undefined && this.mustStore(text)
          ? this.store(text)
          : isRepeated && !this.locked
            ? undefined
            : this.releaseUnchanged(drop);
      return work?.catch(error => this.fail(error));
    } catch (error) {
      return Promise.reject(error).catch(reason => this.fail(reason));
    }
  }

  /** The client has gone: whoever still waits for the lock stops waiting. */
  close(): void {
    this.isGone = true;
    this.gone?.abort('closed'); // without a reason, Node makes an exception with its stack: 4 % of a request's time
  }

  get goneSignal(): AbortSignal {
    if (!this.gone) {
      this.gone = new AbortController();
      if (this.isGone) {
        this.gone.abort('closed');
      }
    }
    return this.gone.signal;
  }

  /** Frees the lock without storing or touching anything. */
  abandon(): void {
    this.committed = true;
    this.usesAtCommit = this.uses;
    this.stored.release();
  }

  cookieChange(): CookieChange {
    // Once the id has changed the old one is dead: the client needs the new one, whatever failed since.
    const isNoUse = this.failed || (this.isStored && this.stored.isLost);
    if (!this.loaded || (isNoUse && !this.regenerated)) {
      return 'none';
    }
    if (this.isStored && !this.cookieExpired) {
      return this.cookieDue ? 'set' : 'none';
    }
    // Unless the application says so, an unknown id is left alone: it may be another application's cookie.
    const hasCookie = this.originalId !== undefined || this.missing;
    return this.cookieExpired || (this.destroyed && hasCookie) ? 'clear' : 'none';
  }

  private async loadNext(readOnly: boolean): Promise<void> {
    if (!this.loaded) {
      if (this.originalId !== undefined) {
        await this.bringIn?.();
        await this.loadStored(readOnly);
        this.cookieDue = this.bringIn !== undefined && this.isStored;
      }
      this.loaded = true;
    } else if (!readOnly && this.onlyRead) {
      this.found = undefined;
      this.values = this.parseStored();
    }
    this.onlyRead &&= readOnly;
    if (!readOnly && this.mustLock()) {
      await this.acquireLock();
    }
  }

  private async loadStored(readOnly: boolean): Promise<void> {
    const isLocked = !readOnly && this.locking !== 'explicit';
    const exists = await (isLocked ? this.stored.acquire(this.key, this.wait()) : this.stored.read(this.key));
    const { record } = this.stored;
    const values =
      exists && this.isAlive(record!)
        ? this.manager.parse(this.key, record!, { shared: readOnly })
        : undefined;
    if (values) {
      this.isNew = false;
      if (readOnly) {
        this.found = values;
      } else {
        this.values = values;
      }
      this.owner = record!.owner;
      this.ownTimeout = record!.timeout;
    } else {
      this.stored.release();
      this.stored.record = undefined;
      this.missing = true;
      // The client's id is never taken over.
      this.currentId = undefined;
      this.currentKey = undefined;
    }
  }

  /** Takes the lock and the record as it is now; what this request changed since it read it stays. */
  private async lockAndMerge(wait: LockWait): Promise<void> {
    const { serializer } = this.manager.options;
    const before = this.stored.record!;
    const exists = await this.stored.acquire(this.key, wait);
    const fresh = exists ? this.manager.parse(this.key, this.stored.record!) : undefined;
    if (!fresh) {
      this.stored.release();
      throw new SessionDestroyedException();
    }
    const changes = findChanges(serializer.parse(before.data), this.values, serializer);
    const { owner, ownTimeout } = this;
    this.adopt(fresh, changes);
    this.owner = owner === before.owner ? this.owner : owner;
    this.ownTimeout = ownTimeout === before.timeout ? this.ownTimeout : ownTimeout;
  }

  /** Fills the session from the record that was just read, into the objects that the application knows. */
  private adopt(values: Values, changes?: Parameters<typeof replaceValues>[2]): void {
    this.owner = this.stored.record!.owner;
    this.ownTimeout = this.stored.record!.timeout;
    replaceValues(this.values, values, changes);
  }

  /** Whether the lock is to be had and is not: the session was read without it before. */
  private mustLock(): boolean {
    return this.isStored && !this.locked && !this.committed && this.locking !== 'explicit';
  }

  private parseStored(options?: { shared: boolean }): Values {
    const { record } = this.stored;
    return (record && this.manager.parse(this.key, record, options)) ?? {};
  }

  /** @param timeout seconds; default: the option's */
  private wait(timeout?: number): LockWait {
    const waitMs = timeout === undefined ? this.manager.options.lockTimeoutMs : timeout * 1000;
    return { waitMs, client: this };
  }

  /** A lifetime that was shortened since the record was written counts too. */
  private isAlive(record: SessionRecord): boolean {
    return record.createdAt + this.manager.options.lifetimeMs > Date.now();
  }

  private setId(id: string, key = sessionKey(id)): void {
    this.currentId = id;
    this.currentKey = key;
  }

  private ttl(): number {
    return this.manager.timeToLive(this.ownTimeout, this.createdAt);
  }

  private serialize(): string {
    const { record } = this.stored;
    return this.manager.codec.stringify(this.values, record && this.key, record?.data);
  }

  /** Whether the application cannot have changed anything: it never had the data in hand. */
  private get isUntouched(): boolean {
    return this.onlyRead || (this.uses === 0 && this.isStored);
  }

  private isChanged(text: string): boolean {
    const { record } = this.stored;
    return text !== record?.data || this.owner !== record.owner || this.ownTimeout !== record.timeout;
  }

  private mustStore(text: string): boolean {
    if (this.isStored) {
      return this.isChanged(text);
    }
    const isEmpty =
      Object.keys(this.values).length === 0 && this.owner === undefined && this.ownTimeout === undefined;
    // Of what was destroyed or asked to expire, nothing is stored unasked.
    return !isEmpty || (this.manager.options.saveUninitialized && !this.cookieExpired && !this.destroyed);
  }

  private toWrite(data: string): SessionWrite {
    const { maxSize } = this.manager.options;
    // Three bytes a character at most: most data needs no count.
    const size = data.length * 3 > maxSize ? Buffer.byteLength(data) : 0;
    if (size > maxSize) {
      throw new SessionSizeException(size, maxSize);
    }
    const ttl = this.ttl();
    if (ttl <= 0) {
      throw new SessionDestroyedException(); // its lifetime ended during the request
    }
    const createdAt = this.stored.record?.createdAt;
    return { data, owner: this.owner, timeout: this.ownTimeout, createdAt, ttl };
  }

  private async store(text: string): Promise<void> {
    if (!this.isStored) {
      await this.create(text, false);
    } else {
      await (this.locked ? this.saveLocked(text, true) : this.mergeAndSave());
    }
  }

  private async saveLocked(text: string, release: boolean): Promise<void> {
    await this.stored.save(this.toWrite(text), { release });
    this.cookieDue = true;
  }

  /** Without the lock: this request's changes go into what is stored by now, under the lock. */
  private async mergeAndSave(): Promise<void> {
    // Also if the client has gone: the handler did its work.
    await this.lockAndMerge({ waitMs: this.manager.options.lockTimeoutMs });
    await this.releaseLock();
  }

  private async create(text: string, locked: boolean): Promise<void> {
    const write = this.toWrite(text);
    for (let tries = 1; !(await this.stored.create(this.key, write, locked)); tries++) {
      if (tries === CREATE_TRIES) {
        throw new Error('generateId returns ids that are taken; they must be random');
      }
      this.setId(this.manager.options.generateId());
    }
    this.cookieDue = true;
  }

  /** @returns undefined if there is nothing to wait for */
  private releaseUnchanged(drop: boolean): Promise<void> | undefined {
    const { record } = this.stored;
    if (!record) {
      return undefined;
    }
    const { touchAfterMs } = this.manager.options;
    const ttl = this.manager.timeToLive(record.timeout, record.createdAt);
    // A read-only request costs one read; the few touches that keep an active session alive are enough.
    const rest = this.onlyRead ? Math.max(touchAfterMs, ttl / 2) : touchAfterMs;
    const isDue = ttl > 0 && Date.now() + ttl - record.expiresAt >= rest;
    if (this.locked || this.stored.isLost) {
      // What the request read may not be stored yet: then its answer waits for it, too.
      const settling = drop ? undefined : this.stored.settle();
      this.stored.release(isDue ? ttl : undefined);
      this.cookieDue ||= isDue;
      return settling;
    }
    // Without the lock, the session may have ended or got a new id meanwhile: a cookie with an id that is dead
    // would take the place of the good one. So the touch comes first, and only its success sends the cookie.
    return isDue ? this.touchBeforeCookie(ttl) : undefined;
  }

  private async touchBeforeCookie(ttl: number): Promise<void> {
    this.cookieDue = (await this.stored.touch(ttl)) || this.cookieDue;
  }

  private fail(error: unknown): never {
    this.failed = true;
    this.abandon();
    throw error;
  }
}
