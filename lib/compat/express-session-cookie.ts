import type { ResolvedSessionOptions } from '../options/session-options.js';
import type { Session } from '../session/session.js';

/** What the options say for all sessions. */
const ATTRIBUTES = ['path', 'domain', 'secure', 'httpOnly', 'sameSite', 'partitioned', 'priority'] as const;

type Attributes = Pick<ResolvedSessionOptions, (typeof ATTRIBUTES)[number]>;
/** What the cookie asks of the session. */
export type SessionAges = Pick<Session, 'timeout' | 'persistent' | 'expiresAt'>;

/** `req.session.cookie`. Its age is the session's own `timeout`; all else is the module's options. */
export class ExpressSessionCookie implements Readonly<Attributes> {
  declare readonly path: Attributes['path'];
  declare readonly domain: Attributes['domain'];
  declare readonly secure: Attributes['secure'];
  declare readonly httpOnly: Attributes['httpOnly'];
  declare readonly sameSite: Attributes['sameSite'];
  declare readonly partitioned: Attributes['partitioned'];
  declare readonly priority: Attributes['priority'];

  readonly #options: ResolvedSessionOptions;
  readonly #session: () => SessionAges;
  /** When it expires, since that was changed or restarted in this request. */
  #movedTo: Date | undefined;

  static {
    for (const name of ATTRIBUTES) {
      Object.defineProperty(this.prototype, name, {
        get(this: ExpressSessionCookie) {
          return this.#options[name];
        },
        set(this: ExpressSessionCookie, value: unknown) {
          if (value !== this.#options[name]) {
            throw new TypeError(
              `req.session.cookie.${name} is the same for all sessions; set the option ${name} of SessionsModule.forRoot()`,
            );
          }
        },
      });
    }
  }

  /** @param session the session, or throws if it is not loaded */
  constructor(options: ResolvedSessionOptions, session: () => SessionAges) {
    this.#options = options;
    this.#session = session;
  }

  /** Milliseconds that the session lives without being used; null: the cookie ends with the browser. */
  get originalMaxAge(): number | null {
    const { timeout, persistent } = this.#session();
    return persistent ? Math.round(timeout * 60_000) : null;
  }

  set originalMaxAge(ms: number | null) {
    this.maxAge = ms;
  }

  /**
   * Milliseconds until it expires. Set it to give this session its own idle timeout ("remember me"); null: its cookie ends
   * with the browser.
   * @throws RangeError
   */
  get maxAge(): number | null {
    const { expires } = this;
    return expires && expires.getTime() - Date.now();
  }

  set maxAge(ms: number | null) {
    const session = this.#session();
    if (ms === null) {
      session.persistent = false;
      return;
    }
    if (!(typeof ms === 'number' && ms > 0 && Number.isFinite(ms))) {
      throw new RangeError(
        `req.session.cookie.maxAge must be milliseconds above 0, or null, not ${String(ms)}; to end the session, use req.session.destroy()`,
      );
    }
    if (!session.persistent) {
      session.persistent = true;
    }
    session.timeout = ms / 60_000;
    this.restart();
  }

  /** As `maxAge`, as a date. */
  get expires(): Date | null {
    const { expiresAt, persistent } = this.#session();
    return persistent ? (this.#movedTo ?? expiresAt) : null;
  }

  set expires(date: Date | null) {
    const isNone = date === null || (date as unknown) === false;
    this.maxAge = isNone ? null : date instanceof Date ? date.getTime() - Date.now() : NaN;
  }

  toJSON() {
    const { originalMaxAge, expires } = this;
    const attributes = ATTRIBUTES.map(name => [name, this[name]]);
    return { originalMaxAge, expires, ...(Object.fromEntries(attributes) as Attributes) };
  }

  /** As at the end of the request, when the session is touched. */
  restart(): void {
    this.#movedTo = new Date(Date.now() + this.#session().timeout * 60_000);
  }

  /** Takes the age from another session's cookie: who copies all properties of a session means that. */
  adopt(cookie: unknown): void {
    const { originalMaxAge } = (cookie ?? {}) as Partial<ExpressSessionCookie>;
    if (
      (typeof originalMaxAge === 'number' || originalMaxAge === null) &&
      originalMaxAge !== this.originalMaxAge
    ) {
      this.maxAge = originalMaxAge;
    }
  }
}
