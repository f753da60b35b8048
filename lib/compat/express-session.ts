import { Logger } from '@nestjs/common';
import { inspect } from 'node:util';
import { SessionDestroyedException, SessionNotLoadedException } from '../exceptions/session.exception.js';
import type { ResolvedSessionOptions } from '../options/session-options.js';
import { setValue } from '../session/live-values.js';
import type { Values } from '../session/session-codec.js';
import { ObservedPromise } from '../session/observed-promise.js';
import type { OpenSession } from '../session/open-session.js';
import type { SessionValues } from '../session/session-data.js';
import { ExpressSessionCookie } from './express-session-cookie.js';

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

/** The request that a view belongs to. */
export interface ExpressSessionSource {
  readonly options: ResolvedSessionOptions;
  /** The session, loaded to be worked with; undefined before. */
  readonly usable: OpenSession | undefined;
  /** The session, to be loaded. @throws why there is none */
  prepare(): OpenSession;
  /** Why the session could not be loaded ahead, if it could not. */
  readonly aheadFailure: unknown;
  /** What `req.session` is from now on. */
  replaceView(next: 'fresh' | 'none'): void;
}

/** What a view shows once its session has ended. */
interface Past {
  id: string;
  values: Values;
}

const logger = new Logger('Sessions');

type Member = (...args: any[]) => unknown;

/** Names that are asked for by who does not mean session data: promises, JSON, `hasOwnProperty`. */
const isOrdinary = (name: string): boolean =>
  name === 'then' || name === 'toJSON' || name in Object.prototype;

/** Makes a request's `req.session`. */
export function createExpressSession(source: ExpressSessionSource): ExpressSession {
  const handler = new ExpressSessionHandler(source);
  // On a prototype, where express-session has them, and packages look for them.
  const prototype = { ...handler.members, [inspect.custom]: () => handler.inspect() };
  for (const name of Reflect.ownKeys(prototype)) {
    Object.defineProperty(prototype, name, { enumerable: false });
  }
  handler.view = new Proxy(Object.create(prototype), handler) as unknown as ExpressSession;
  return handler.view;
}

class ExpressSessionHandler implements ProxyHandler<object> {
  view!: ExpressSession;
  private readonly cookie: ExpressSessionCookie;
  private past: Past | undefined;
  private hasWarned = false;
  readonly members: Record<string, Member> = {
    save: callback => this.run(callback, open => open.saveNow()),
    reload: callback => this.run(callback, open => open.reloadNow()),
    regenerate: (first, second) => {
      const [keys, callback] = typeof first === 'function' ? [undefined, first] : [first, second];
      return this.run(callback, open => this.end(open, 'fresh', Array.isArray(keys) ? keys : []));
    },
    destroy: callback => this.run(callback, open => this.end(open, 'none')),
    touch: () => this.touch(),
    resetMaxAge: () => this.touch(),
  };

  constructor(private readonly source: ExpressSessionSource) {
    this.cookie = new ExpressSessionCookie(source.options, () => this.loaded('cookie'));
  }

  get(target: object, name: string | symbol): unknown {
    if (typeof name === 'symbol') {
      return Reflect.get(target, name);
    }
    if (name === 'cookie') {
      return this.cookie;
    }
    if (name === 'id') {
      return this.past ? this.past.id : this.loaded(name).id;
    }
    const isUnloaded = !this.past && !this.source.usable;
    if (this.isMember(name) || (isUnloaded && isOrdinary(name))) {
      return Reflect.get(target, name);
    }
    const values = this.values(name);
    return Object.hasOwn(values, name) ? values[name] : Reflect.get(target, name);
  }

  set(target: object, name: string | symbol, value: unknown): boolean {
    if (typeof name === 'symbol') {
      return false;
    }
    if (name === 'cookie') {
      this.cookie.adopt(value);
    } else if (this.isMember(name)) {
      if (typeof value !== 'function') {
        throw new TypeError(`req.session.${name} is a method; keep the value under another name`);
      }
      Object.defineProperty(target, name, { value, writable: true, configurable: true });
    } else if (name === 'id') {
      throw new TypeError(
        'req.session.id is made by the server; for a new one, use req.session.regenerate()',
      );
    } else if (this.past) {
      this.past.values[name] = value;
    } else {
      this.write(name, values => setValue(values, name, value));
    }
    return true;
  }

  has(target: object, name: string | symbol): boolean {
    return (
      Reflect.has(target, name) ||
      name === 'cookie' ||
      name === 'id' ||
      (typeof name === 'string' && Object.hasOwn(this.values(name), name))
    );
  }

  deleteProperty(_target: object, name: string | symbol): boolean {
    if (typeof name === 'string') {
      this.write(name, values => delete values[name]);
    }
    return true;
  }

  /** As with express-session, the data and the cookie are there to be enumerated, and nothing else. */
  ownKeys(): string[] {
    const hidden = (name: string) => name === 'cookie' || name === 'id' || this.isMember(name);
    return ['cookie', ...Object.keys(this.values('*')).filter(name => !hidden(name))];
  }

  getOwnPropertyDescriptor(target: object, name: string | symbol): PropertyDescriptor | undefined {
    const isOwn = typeof name === 'string' && (name === 'cookie' || Object.hasOwn(this.values(name), name));
    return isOwn
      ? { value: this.get(target, name), writable: true, enumerable: true, configurable: true }
      : undefined;
  }

  defineProperty(target: object, name: string | symbol, { value, get }: PropertyDescriptor): boolean {
    return get === undefined && this.set(target, name, value);
  }

  inspect(): unknown {
    return this.past || this.source.usable
      ? { cookie: this.cookie.toJSON(), ...this.values('*') }
      : 'req.session, not loaded';
  }

  private isMember(name: string): boolean {
    return Object.hasOwn(this.members, name);
  }

  private values(name: string): Values {
    if (this.past) {
      return this.past.values;
    }
    const open = this.loaded(name);
    return open.state === 'answered' ? open.values.live : open.useValues();
  }

  private write(name: string, change: (values: Values) => void): void {
    if (this.past) {
      change(this.past.values);
    } else if (this.loaded(name).state !== 'answered') {
      change(this.loaded(name).useValues(true));
    } else if (!this.hasWarned) {
      this.hasWarned = true;
      logger.warn(`req.session.${name} was changed after the answer had been sent: the change is not stored`);
    }
  }

  private loaded(name: string): OpenSession {
    const { usable, aheadFailure } = this.source;
    if (aheadFailure) {
      throw aheadFailure;
    }
    if (!usable) {
      throw new SessionNotLoadedException(name);
    }
    return usable;
  }

  /** What is held of this view goes on showing what the session was: passport copies from it. */
  private async end(open: OpenSession, next: 'fresh' | 'none', keys: string[] = []): Promise<void> {
    const past: Past = { id: open.id, values: { ...open.values.live } };
    const cookie = this.cookie.toJSON();
    await open.destroyNow(next === 'fresh');
    this.past = past;
    this.cookie.end(cookie);
    this.source.replaceView(next);
    for (const key of keys.filter(name => Object.hasOwn(past.values, name))) {
      setValue(open.useValues(true), key, past.values[key]);
    }
  }

  private touch(): ExpressSession {
    this.cookie.restart();
    return this.view;
  }

  private run(callback: unknown, operation: (open: OpenSession) => Promise<void>): Promise<void> {
    const work = this.call(operation);
    if (typeof callback === 'function') {
      // Not in the promise's own turn: what a callback throws is an uncaught exception, not a rejection.
      work.then(
        () => process.nextTick(callback as ExpressSessionCallback),
        error => process.nextTick(callback as ExpressSessionCallback, error),
      );
    }
    return work;
  }

  private call(operation: (open: OpenSession) => Promise<void>): Promise<void> {
    try {
      return this.source.prepare().call(async open => {
        await open.loadNow();
        if (this.past) {
          throw new SessionDestroyedException();
        }
        await operation(open);
      });
    } catch (error) {
      return ObservedPromise.of(Promise.reject(error));
    }
  }
}
