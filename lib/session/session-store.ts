import { Injectable } from '@nestjs/common';
import type { IncomingHttpHeaders } from 'node:http';
import { SessionContextException } from '../exceptions/session.exception.js';
import type { SessionRecord, StoredRecord } from '../storage/session-backend.js';
import { ObservedPromise } from './observed-promise.js';
import { OpenSession } from './open-session.js';
import { ownCopyOf } from './session-codec.js';
import { SessionIdCarrier, type SessionCookieText } from './session-id-carrier.js';
import { contextsAround, currentContext, runInContext, type SessionParamOptions } from './session-context.js';
import { isSessionKey, sessionKey } from './session-id.js';
import { SessionRuntime } from './session-runtime.js';
import type { SessionValues } from './session-data.js';
import type { OwnedSession, SessionPage, SessionSnapshot } from './session-snapshot.js';
import type { Session } from './session.js';

/** Changes a session. */
type Update<T> = (session: Session) => Promise<T> | T;

/** Sessions from wherever there is code: services, gateways, jobs, commands. */
@Injectable()
export class SessionStore {
  constructor(
    private readonly runtime: SessionRuntime,
    private readonly ids: SessionIdCarrier,
  ) {}

  /**
   * The session of the request in flight, loaded; always the same object as `@Session()` gives. From the route's entry
   * on: in guards, pipes, interceptors, handlers, filters, resolvers and what they call. In a module's middleware, call
   * it before anything is awaited.
   * @throws SessionContextException outside of a request, in middleware, or on a route without a session
   */
  current(options: SessionParamOptions = {}): Promise<Session> {
    // Inside of update() too, it is the request's session.
    const contexts = contextsAround();
    const context = contexts.find(({ use }) => use);
    return this.run(async () => {
      if (!context) {
        const isUpdate = contexts.length > 0;
        const instead = isUpdate
          ? 'use the session that update() passes'
          : 'there, use get(id) or update(id, fn)';
        throw new SessionContextException(
          `SessionStore.current() was called outside of a request; ${instead}. In middleware, where it is not known ` +
            'whose request goes on after an await, call it before the first await, or use req.session behind loadSession',
        );
      }
      return context.use!(options);
    });
  }

  /** What is stored under an id, without a lock; undefined if there is no such session. */
  get(id: string): Promise<SessionSnapshot | undefined> {
    return this.run(async () => this.readSnapshot(keyOf(id)));
  }

  exists(id: string): Promise<boolean> {
    return this.run(async () => (await this.readSnapshot(keyOf(id))) !== undefined);
  }

  /**
   * Stores a new session.
   * @param options.timeout minutes of its own idle timeout
   * @returns its id
   */
  create(
    data: Partial<SessionValues> = {},
    options: { owner?: string; timeout?: number } = {},
  ): Promise<string> {
    return this.run(async () => {
      const open = new OpenSession(this.runtime);
      open.locking = 'explicit'; // nobody else knows it yet
      await open.load();
      open.session.update(data);
      open.session.owner = options.owner;
      if (options.timeout !== undefined) {
        open.session.timeout = options.timeout;
      }
      await open.saveNow();
      return open.id;
    });
  }

  /**
   * Changes a session under its lock: `fn` gets it loaded, and what it changed is stored when it is done.
   * Of the request's own session, or inside another `update` of it, it is the same session and lock.
   * @returns what `fn` returns, or undefined, with `fn` not called, if there is no such session
   * @throws SessionLockTimeoutException, SessionDestroyedException and what `fn` throws: then nothing is stored
   */
  update<T>(id: string, fn: Update<T>): Promise<T | undefined> {
    return this.run(async () => {
      const key = keyOf(id);
      if (!key) {
        return undefined;
      }
      for (const context of contextsAround()) {
        if (context.owns(id)) {
          await (context.open ? context.open.load() : context.use!());
          // Of several cookies, the request's session may be another one.
          if (context.owns(id)) {
            return this.updateOwn(context.open!, fn);
          }
        }
      }
      return this.updateOther(new OpenSession(this.runtime, { id, key }), fn);
    });
  }

  /** Removes a session at once, without waiting for its lock. @returns whether there was one */
  destroy(id: string): Promise<boolean> {
    return this.run(async () => {
      const key = keyOf(id);
      const destroyed = key !== undefined && (await this.runtime.backend.delete(key));
      await this.forgetOwn(open => open.isStored && open.id === id);
      return destroyed;
    });
  }

  /** The number of stored sessions. CherryPy's `len(session)`. @throws SessionUnsupportedException */
  count(): Promise<number> {
    return this.run(async () => this.runtime.backend.count());
  }

  /** Removes what has expired, as the scheduled job does. CherryPy's `clean_up`. @returns how many */
  cleanUp(): Promise<number> {
    return this.run(async () => this.runtime.cleanUp());
  }

  /** The sessions of an owner, oldest first. @throws SessionUnsupportedException */
  findByOwner(owner: string): Promise<OwnedSession[]> {
    return this.run(async () => this.toSessions(await this.runtime.backend.findByOwner(owner)));
  }

  /**
   * All sessions, page by page, in no order that means anything. One that gets a new id meanwhile may come twice, or not.
   * @param cursor `next` of the page before; without it, the first page
   * @param limit how many sessions a page has at most, 1 to 1000; default 100
   * @throws SessionUnsupportedException; RangeError
   */
  list(cursor?: string, limit = 100): Promise<SessionPage> {
    return this.run(async () => {
      if (!(Number.isInteger(limit) && limit >= 1 && limit <= 1000)) {
        throw new RangeError(`list() takes a limit of 1 to 1000, not ${String(limit)}`);
      }
      if (cursor !== undefined && !(typeof cursor === 'string' && isSessionKey(cursor))) {
        throw new RangeError('list() takes as its cursor the next of the page before, or undefined');
      }
      const records = await this.runtime.backend.list(cursor, limit);
      return {
        sessions: this.toSessions(records),
        next: records.length === limit ? records.at(-1)!.key : undefined,
      };
    });
  }

  /**
   * Removes the sessions of an owner at once, e.g. after a change of password.
   * @param options.except the id of a session to keep
   * @param options.only the `key` of the one to remove, from `findByOwner`
   * @returns how many
   * @throws SessionUnsupportedException; TypeError for an option that is there but no string, such as a form
   * field that was not sent: it would remove more than was meant
   */
  destroyByOwner(owner: string, options: { except?: string; only?: string } = {}): Promise<number> {
    return this.run(async () => {
      for (const [name, value] of Object.entries(options)) {
        if (typeof value !== 'string') {
          throw new TypeError(
            `destroyByOwner() got ${name}: ${String(value)}; pass a string, or leave it out`,
          );
        }
      }
      if (options.only !== undefined && !isSessionKey(options.only)) {
        return 0;
      }
      const except = options.except === undefined ? undefined : sessionKey(options.except);
      const count = await this.runtime.backend.deleteByOwner(owner, { except, only: options.only });
      await this.forgetOwn(
        ({ record, key }) => record?.owner === owner && key !== except && (options.only ?? key) === key,
      );
      return count;
    });
  }

  /** The session that a request's cookie names, e.g. of a WebSocket handshake; undefined if there is none. */
  fromRequest(request: {
    headers: IncomingHttpHeaders;
  }): Promise<(SessionSnapshot & { id: string }) | undefined> {
    return this.run(async () => {
      const sent = this.ids.readIds(request.headers);
      const one = sent.length > 1 ? await this.runtime.pickAlive(sent) : sent[0];
      const snapshot = await this.readSnapshot(one?.key);
      return snapshot && { ...snapshot, id: one!.id };
    });
  }

  /**
   * The cookie of a stored session: for tests with an HTTP client of their own, and jobs that log in. It lets whoever has it
   * into the session.
   * @param options.secure whether the client comes over HTTPS, which `secure: 'auto'` goes by. Default false
   * @returns undefined if there is no such session
   */
  cookieFor(id: string, options?: { secure?: boolean }): Promise<SessionCookieText | undefined> {
    return this.run(async () => {
      const key = keyOf(id);
      const record = key === undefined ? undefined : await this.runtime.backend.read(key);
      if (!record || !this.runtime.parse(key!, record)) {
        return undefined;
      }
      const setCookie = this.ids.bind(id, record.expiresAt, options?.secure ?? false, {}, record.persistent);
      return { setCookie, cookie: setCookie.split(';', 1)[0]! };
    });
  }

  /** A failure that nobody waits for is no reason for the process to end; that of a storage has been logged. */
  private run<T>(task: () => Promise<T>): Promise<T> {
    return ObservedPromise.of(task());
  }

  private async updateOther<T>(open: OpenSession, fn: Update<T>): Promise<T | undefined> {
    open.locking = 'implicit';
    await open.load();
    if (!open.isStored) {
      return undefined;
    }
    const owns = (id: string) => open.state !== 'answered' && open.isStored && open.id === id;
    try {
      const result = await runInContext({ open, owns, outer: currentContext() }, () => fn(open.session));
      await open.commit();
      return result;
    } finally {
      open.abandon();
      open.answer('SessionStore.update() had ended');
    }
  }

  private async updateOwn<T>(open: OpenSession, fn: Update<T>): Promise<T> {
    const wasLocked = open.locked;
    open.touches = true;
    await open.session.acquireLock();
    const { record } = open;
    const undo = open.values.snapshot();
    try {
      const result = await fn(open.session);
      await open.session.save();
      return result;
    } catch (error) {
      if (open.record === record) {
        undo(); // nothing of it has been stored
      }
      throw error;
    } finally {
      if (!wasLocked) {
        await open.session.releaseLock(); // as `locking: 'explicit'` wants it
      }
    }
  }

  /** A request that removes its own session goes on without it, as after `session.destroy()`. */
  private async forgetOwn(isRemoved: (open: OpenSession) => boolean): Promise<void> {
    for (const { open } of contextsAround()) {
      if (open?.loaded && open.state !== 'answered' && isRemoved(open)) {
        await open.call(async () => open.forgetNow());
      }
    }
  }

  private async readSnapshot(key: string | undefined): Promise<SessionSnapshot | undefined> {
    const record = key === undefined ? undefined : await this.runtime.backend.read(key);
    return record && this.toSnapshot(key!, record);
  }

  private toSessions(records: StoredRecord[]): OwnedSession[] {
    const currentKey = currentContext()?.open?.key;
    return records.flatMap(({ key, record }) => {
      const snapshot = this.toSnapshot(key, record);
      return snapshot ? Object.assign(snapshot, { key, current: key === currentKey }) : [];
    });
  }

  private toSnapshot(key: string, record: SessionRecord): SessionSnapshot | undefined {
    const stored = this.runtime.parse(key, record);
    return (
      stored && {
        data: ownCopyOf(stored) as unknown as SessionValues,
        owner: record.owner,
        createdAt: new Date(record.createdAt),
        expiresAt: new Date(record.expiresAt),
        lastUsedAt: new Date(record.lastUsedAt ?? record.createdAt), // a backend of the application's, of before, has none
      }
    );
  }
}

/** What storages know an id by; undefined for what is none: it is treated as unknown. */
const keyOf = (id: unknown): string | undefined =>
  typeof id === 'string' && id !== '' ? sessionKey(id) : undefined;
