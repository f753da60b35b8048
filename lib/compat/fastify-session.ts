import { setValue } from '../session/live-values.js';
import type { Values } from '../session/session-codec.js';
import { ExpressSessionMembers, HANDLER, type ExpressSession } from './express-session.js';

/**
 * `request.session` on Fastify: as on Express, and with the methods that @fastify/session and @fastify/secure-session have,
 * which Fastify's plugins call. Data under one of these names is there by `@Session()` alone.
 */
export type FastifySession = ExpressSession & {
  /** The secret in the cookie. Do not log it. */
  readonly sessionId: string;
  get(key: string): any;
  set(key: string, value: unknown): void;
  /** A copy of the data. */
  data(): Record<string, any>;
  /** Removes the session and its cookie. */
  delete(): Promise<void>;
  /** Whether it holds what is not stored yet. */
  isModified(): boolean;
  /** Whether it is stored as it is. */
  isSaved(): boolean;
  /**
   * Options of the session's cookie, of which sessions have their own: `maxAge` (milliseconds) and `expires`. The others
   * are the module's, and are ignored here.
   */
  options(options: { maxAge?: number; expires?: Date }): void;
};

export class FastifySessionMembers extends ExpressSessionMembers {
  static {
    Reflect.deleteProperty(this.prototype, 'constructor'); // may be data
  }

  get sessionId(): string {
    return this.id;
  }

  get(key: string): unknown {
    const values = this[HANDLER].values(key);
    return Object.hasOwn(values, key) ? values[key] : undefined;
  }

  set(key: string, value: unknown): void {
    setValue(this[HANDLER].values(key, true), key, value);
  }

  data(): Values {
    return { ...this[HANDLER].values('data') };
  }

  delete(...args: unknown[]): Promise<void> {
    if (args.length > 0) {
      throw new TypeError(
        'request.session.delete() ends the session; for a key, write request.session.set(key, undefined)',
      );
    }
    return this.destroy();
  }

  isModified(): boolean {
    const { values, isStored, record } = this[HANDLER].loaded('isModified');
    return isStored ? values.isChanged(record) : !values.isEmpty;
  }

  isSaved(): boolean {
    return this[HANDLER].loaded('isSaved').isStored && !this.isModified();
  }

  options(options?: { maxAge?: number; expires?: Date } | null): void {
    const { maxAge, expires } = options ?? {};
    if (maxAge !== undefined) {
      this.cookie.maxAge = maxAge;
    } else if (expires !== undefined) {
      this.cookie.expires = expires;
    }
  }
}
