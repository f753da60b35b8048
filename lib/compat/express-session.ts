import { Logger } from '@nestjs/common';
import { inspect } from 'node:util';
import { SessionDestroyedException, SessionNotLoadedException } from '../exceptions/session.exception.js';
import type { RequestContext } from '../http/request-context.js';
import { setValue } from '../session/live-values.js';
import type { Values } from '../session/session-codec.js';
import { ObservedPromise } from '../session/observed-promise.js';
import type { OpenSession } from '../session/open-session.js';
import type { SessionValues } from '../session/session-data.js';
import { ExpressSessionCookie, type SessionAges } from './express-session-cookie.js';

/** Called once it is done, with what went wrong, if anything did. */
export type ExpressSessionCallback = (error?: unknown) => void;

/**
 * `req.session` as users of express-session know it: the data as properties, and these members. Over the same
 * session as `@Session()`. What takes a callback returns a promise too.
 */
export type ExpressSession = Partial<SessionValues> & {
  /** The secret in the cookie. Do not log it. */
  readonly id: string;
  cookie: ExpressSessionCookie;
  /** Stores the changes now. */
  save(callback?: ExpressSessionCallback): Promise<void>;
  /** Reads the session again; changes that were not saved are dropped. */
  reload(callback?: ExpressSessionCallback): Promise<void>;
  /** Removes the session; `req.session` is an empty one then, stored with a new id once something is in it. */
  regenerate(callback?: ExpressSessionCallback): Promise<void>;
  /**
   * The same, in @fastify/session's form.
   * @param keys of the data to take along
   */
  regenerate(keys: string[], callback?: ExpressSessionCallback): Promise<void>;
  /** Removes the session and its cookie; `req.session` is undefined then. */
  destroy(callback?: ExpressSessionCallback): Promise<void>;
  /** Restarts the time of `cookie.maxAge`; the stored session's restarts with each use. */
  touch(): ExpressSession;
  resetMaxAge(): ExpressSession;
};

/** What a view shows once its session has ended: passport copies from it. */
interface Past extends SessionAges {
  readonly id: string;
  readonly values: Values;
}

export const HANDLER = Symbol('ExpressSessionHandler');

const logger = new Logger('Sessions');

/** Each request's `req.session`; null once it was destroyed. */
const views = new WeakMap<RequestContext, ExpressSession | null>();

/**
 * `req.session`; undefined on a route without a session, and once `req.session.destroy()` was called.
 * @param Members what it has besides data
 */
export function viewOf(context: RequestContext, Members = ExpressSessionMembers): ExpressSession | undefined {
  if (context.isSkipped) {
    return undefined;
  }
  let view = views.get(context);
  if (view === undefined) {
    const handler = new ExpressSessionHandler(context);
    view = new Proxy(new Members(handler), handler) as unknown as ExpressSession;
    views.set(context, view);
  }
  return view ?? undefined;
}

/** What a view has besides data. On a prototype, where express-session has its methods, and packages look for them. */
export class ExpressSessionMembers {
  protected readonly [HANDLER]: ExpressSessionHandler;

  static {
    Reflect.deleteProperty(this.prototype, 'constructor'); // may be data
  }

  constructor(handler: ExpressSessionHandler) {
    this[HANDLER] = handler;
  }

  get id(): string {
    return this[HANDLER].id;
  }

  get cookie(): ExpressSessionCookie {
    return this[HANDLER].cookie;
  }

  save(callback?: unknown) {
    return this[HANDLER].run(callback, open => open.saveNow());
  }

  reload(callback?: unknown) {
    return this[HANDLER].run(callback, open => open.reloadNow());
  }

  regenerate(first?: unknown, second?: unknown) {
    const [keys, callback] = typeof first === 'function' ? [undefined, first] : [first, second];
    return this[HANDLER].run(callback, open => this[HANDLER].end(open, Array.isArray(keys) ? keys : []));
  }

  destroy(callback?: unknown) {
    return this[HANDLER].run(callback, open => this[HANDLER].end(open));
  }

  touch() {
    this.cookie.restart();
    return this;
  }

  resetMaxAge() {
    return this.touch();
  }

  [inspect.custom]() {
    const handler = this[HANDLER];
    return handler.isLoaded
      ? { cookie: handler.cookie.toJSON(), ...handler.values('*') }
      : 'req.session, not loaded';
  }
}

const isMember = (members: object, name: string): boolean => name in members && !(name in Object.prototype);

/** @throws TypeError for what looks like this package's `Session`, and is not: nothing else would say which import is wrong */
function refuseMethod(name: string): never {
  throw new TypeError(
    `req.session has no method ${name}: its properties are the data. If @Session() gave it, that is @nestjs/common's; ` +
      `for session.${name}(), write import { Session } from 'nest-sessions'`,
  );
}

/** Names that are asked for by who does not mean session data: promises, JSON, `hasOwnProperty`. */
const isOrdinary = (name: string): boolean =>
  name === 'then' || name === 'toJSON' || name in Object.prototype;

export class ExpressSessionHandler implements ProxyHandler<ExpressSessionMembers> {
  readonly cookie: ExpressSessionCookie;
  private past: Past | undefined;
  private hasWarned = false;

  constructor(private readonly context: RequestContext) {
    const ages = () => this.past ?? this.loaded('cookie').session;
    this.cookie = new ExpressSessionCookie(context.runtime.options, ages);
  }

  get id(): string {
    return (this.past ?? this.loaded('id')).id;
  }

  get isLoaded(): boolean {
    return this.past !== undefined || this.context.usable !== undefined;
  }

  /** The data. To be changed once the answer has ended, it is a copy. */
  values(name: string, toWrite = false): Values {
    if (this.past) {
      return this.past.values;
    }
    const open = this.loaded(name);
    if (open.state !== 'answered') {
      return open.useValues(toWrite);
    }
    if (toWrite && !this.hasWarned) {
      this.hasWarned = true;
      logger.warn(`req.session.${name} was changed after the answer had been sent: the change is not stored`);
    }
    return toWrite ? { ...open.values.live } : open.values.live;
  }

  get(target: object, name: string | symbol): unknown {
    if (typeof name === 'symbol' || isMember(target, name) || (isOrdinary(name) && !this.isLoaded)) {
      return Reflect.get(target, name);
    }
    const values = this.values(name);
    if (Object.hasOwn(values, name)) {
      return values[name];
    }
    return name === 'get' || name === 'set' ? () => refuseMethod(name) : Reflect.get(target, name);
  }

  set(target: object, name: string | symbol, value: unknown): boolean {
    if (typeof name === 'symbol') {
      return false;
    }
    if (name === 'cookie') {
      this.cookie.adopt(value);
    } else if (name === 'id') {
      throw new TypeError(
        'req.session.id is made by the server; for a new one, use req.session.regenerate()',
      );
    } else if (!isMember(target, name)) {
      setValue(this.values(name, true), name, value);
    } else if (typeof value === 'function') {
      return Reflect.set(target, name, value);
    } else {
      throw new TypeError(`req.session.${name} is a method; keep the value under another name`);
    }
    return true;
  }

  has(target: object, name: string | symbol): boolean {
    return Reflect.has(target, name) || this.hasValue(name);
  }

  deleteProperty(_target: object, name: string | symbol): boolean {
    return typeof name === 'symbol' || Reflect.deleteProperty(this.values(name, true), name);
  }

  /** As with express-session, the data and the cookie are there to be enumerated, and nothing else. */
  ownKeys(target: object): string[] {
    return ['cookie', ...Object.keys(this.values('*')).filter(name => !isMember(target, name))];
  }

  getOwnPropertyDescriptor(target: object, name: string | symbol): PropertyDescriptor | undefined {
    return name === 'cookie' || this.hasValue(name)
      ? { value: this.get(target, name), writable: true, enumerable: true, configurable: true }
      : undefined;
  }

  defineProperty(target: object, name: string | symbol, { value, get }: PropertyDescriptor): boolean {
    return get === undefined && this.set(target, name, value);
  }

  /** @param keys of the data that a new session begins with; undefined: there is none */
  async end(open: OpenSession, keys?: string[]): Promise<void> {
    const { timeout, persistent, expiresAt } = open.session;
    const past = { id: open.id, values: { ...open.values.live }, timeout, persistent, expiresAt };
    await open.destroyNow(keys !== undefined);
    this.past = past;
    if (!keys) {
      views.set(this.context, null);
      return;
    }
    views.delete(this.context);
    for (const key of keys.filter(name => Object.hasOwn(past.values, name))) {
      setValue(open.useValues(true), key, past.values[key]);
    }
  }

  run(callback: unknown, operation: (open: OpenSession) => Promise<void>): Promise<void> {
    let work: Promise<void>;
    try {
      work = this.context.prepare().call(async open => {
        await open.loadNow();
        if (this.past) {
          throw new SessionDestroyedException();
        }
        await operation(open);
      });
    } catch (error) {
      work = ObservedPromise.of(Promise.reject(error));
    }
    if (typeof callback === 'function') {
      // Not in the promise's own turn: what a callback throws is an uncaught exception, not a rejection.
      work.then(
        () => process.nextTick(callback),
        error => process.nextTick(callback, error),
      );
    }
    return work;
  }

  private hasValue(name: string | symbol): boolean {
    return typeof name === 'string' && Object.hasOwn(this.values(name), name);
  }

  /** @param name what is asked for @throws SessionNotLoadedException */
  loaded(name: string): OpenSession {
    const { usable, aheadFailure } = this.context;
    if (aheadFailure) {
      throw aheadFailure;
    }
    if (!usable) {
      throw new SessionNotLoadedException(name);
    }
    return usable;
  }
}
