import { Injectable } from '@nestjs/common';
import type { IncomingHttpHeaders } from 'node:http';
import { SessionContextException } from '../exceptions/session.exception.js';
import type { SessionRecord } from '../storage/session-backend.js';
import { ActiveSession } from './active-session.js';
import { currentContext, runInContext, type SessionContext } from './session-context.js';
import { sessionKey } from './session-id.js';
import { SessionManager } from './session-manager.js';
import type { SessionValues } from './session-data.js';
import type { Session } from './session.js';

/** A session as it was stored at one moment; changing it stores nothing. */
export interface SessionSnapshot {
  readonly data: SessionValues;
  readonly owner: string | undefined;
  readonly createdAt: Date;
  readonly expiresAt: Date;
}

/** One of an owner's sessions. */
export interface OwnedSession extends SessionSnapshot {
  /** Names the session without being its id: for `destroyByOwner(owner, { only })`, e.g. in a form. */
  readonly key: string;
  /** Whether it is the session of the request in flight. */
  readonly current: boolean;
}

/** Finds session ids in request headers. */
export abstract class SessionIdReader {
  /** @returns several if the cookie came with several values that may be ids */
  abstract readIds(headers: IncomingHttpHeaders): string[];
}

/** Sessions from wherever there is code: services, gateways, jobs, commands. */
@Injectable()
export class SessionStore {
  constructor(
    private readonly manager: SessionManager,
    private readonly ids: SessionIdReader,
  ) {}

  /**
   * The session of the request in flight, loaded; always the same object as `@Session()` gives.
   * @throws SessionContextException outside of a request, or on a route without a session
   */
  async current(options: { readOnly?: boolean } = {}): Promise<Session> {
    const context = currentContext();
    if (!context) {
      throw new SessionContextException(
        'SessionStore.current() was called outside of a request; there, use get(id) or update(id, fn)',
      );
    }
    return context.use(options);
  }

  /** What is stored under an id, without a lock; undefined if there is no such session. */
  async get(id: string): Promise<SessionSnapshot | undefined> {
    const key = sessionKey(id);
    const record = await this.manager.backend.read(key);
    return record && this.toSnapshot(key, record);
  }

  async exists(id: string): Promise<boolean> {
    return (await this.manager.backend.read(sessionKey(id))) !== undefined;
  }

  /**
   * Stores a new session.
   * @param options.timeout minutes of its own idle timeout
   * @returns its id
   */
  async create(
    data: Partial<SessionValues> = {},
    options: { owner?: string; timeout?: number } = {},
  ): Promise<string> {
    const active = new ActiveSession(this.manager);
    await active.load();
    active.session.update(data);
    active.session.owner = options.owner;
    if (options.timeout !== undefined) {
      active.session.timeout = options.timeout;
    }
    await active.save();
    await active.releaseLock();
    return active.id;
  }

  /**
   * Changes a session under its lock: `fn` gets it loaded, and what it changed is stored when it is done.
   * Of the request's own session, or inside another `update` of it, it is the same session and lock.
   * @returns what `fn` returns, or undefined, with `fn` not called, if there is no such session
   * @throws SessionLockTimeoutException, SessionDestroyedException and what `fn` throws: then nothing is stored
   */
  async update<T>(id: string, fn: (session: Session) => Promise<T> | T): Promise<T | undefined> {
    const outer = currentContext();
    for (let context = outer; context; context = context.outer) {
      if (context.owns(id)) {
        return this.updateOwn(context, fn);
      }
    }
    const active = new ActiveSession(this.manager, id);
    active.locking = 'implicit';
    await active.load();
    if (active.missing) {
      return undefined;
    }
    try {
      const context: SessionContext = {
        active,
        owns: other => other === active.id,
        // current() is the request's session also here.
        use: options => this.useOuter(outer, options),
        outer,
      };
      const result = await runInContext(context, () => fn(active.session));
      await active.commit();
      return result;
    } finally {
      active.abandon();
    }
  }

  /** Removes a session at once, without waiting for its lock. @returns whether there was one */
  async destroy(id: string): Promise<boolean> {
    const destroyed = await this.manager.backend.delete(sessionKey(id));
    this.forgetIf(active => active.isStored && active.id === id);
    return destroyed;
  }

  /** The number of stored sessions. CherryPy's `len(session)`. @throws SessionUnsupportedException */
  async count(): Promise<number> {
    return this.manager.backend.count();
  }

  /** Removes what has expired, as the scheduled job does. CherryPy's `clean_up`. @returns how many */
  async cleanUp(): Promise<number> {
    return this.manager.backend.cleanUp();
  }

  /** The sessions of an owner, oldest first. @throws SessionUnsupportedException */
  async findByOwner(owner: string): Promise<OwnedSession[]> {
    const currentKey = currentContext()?.active?.key;
    const found: OwnedSession[] = [];
    for (const { key, record } of await this.manager.backend.findByOwner(owner)) {
      const snapshot = this.toSnapshot(key, record);
      if (snapshot) {
        found.push({ ...snapshot, key, current: key === currentKey });
      }
    }
    return found;
  }

  /**
   * Removes the sessions of an owner at once, e.g. after a change of password.
   * @param options.except the id of a session to keep
   * @param options.only the `key` of the one to remove, from `findByOwner`
   * @returns how many
   * @throws SessionUnsupportedException; TypeError for an option that is there but no string, such as a form
   * field that was not sent: it would remove more than was meant
   */
  async destroyByOwner(owner: string, options: { except?: string; only?: string } = {}): Promise<number> {
    for (const [name, value] of Object.entries(options)) {
      if (typeof value !== 'string') {
        throw new TypeError(`destroyByOwner() got ${name}: ${String(value)}; pass a string, or leave it out`);
      }
    }
    const except = options.except === undefined ? undefined : sessionKey(options.except);
    const count = await this.manager.backend.deleteByOwner(owner, { except, only: options.only });
    this.forgetIf(
      active =>
        active.isStored &&
        active.storedOwner === owner &&
        active.key !== except &&
        (options.only === undefined || active.key === options.only),
    );
    return count;
  }

  /** The session that a request's cookie names, e.g. of a WebSocket handshake; undefined if there is none. */
  async fromRequest(request: {
    headers: IncomingHttpHeaders;
  }): Promise<(SessionSnapshot & { id: string }) | undefined> {
    const [id, ...others] = this.ids.readIds(request.headers);
    const snapshot = id !== undefined && others.length === 0 ? await this.get(id) : undefined;
    return snapshot && { ...snapshot, id: id! };
  }

  private async updateOwn<T>(
    context: SessionContext,
    fn: (session: Session) => Promise<T> | T,
  ): Promise<T | undefined> {
    await (context.active ? context.active.load() : context.use());
    const active = context.active!;
    if (!active.isStored) {
      return undefined;
    }
    const wasLocked = active.locked;
    await active.acquireLock();
    try {
      const result = await active.orRestore(() => fn(active.session));
      await active.save();
      return result;
    } finally {
      if (!wasLocked) {
        await active.releaseLock(); // as `locking: 'explicit'` wants it
      }
    }
  }

  private useOuter(outer: SessionContext | undefined, options?: { readOnly?: boolean }): Promise<Session> {
    if (!outer) {
      throw new SessionContextException(
        'SessionStore.current() was called outside of a request; use the session that update() passes',
      );
    }
    return outer.use(options);
  }

  /** A request that removes its own session goes on without it, as after `session.destroy()`. */
  private forgetIf(isRemoved: (active: ActiveSession) => boolean): void {
    for (let context = currentContext(); context; context = context.outer) {
      if (context.active?.loaded && isRemoved(context.active)) {
        context.active.markDestroyed();
      }
    }
  }

  private toSnapshot(key: string, record: SessionRecord): SessionSnapshot | undefined {
    const data = this.manager.parse(key, record);
    return (
      data && {
        data: data as unknown as SessionValues,
        owner: record.owner,
        createdAt: new Date(record.createdAt),
        expiresAt: new Date(record.expiresAt),
      }
    );
  }
}
