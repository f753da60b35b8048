import type { ResolvedSessionOptions } from '../options/session-options.js';
import type { OpenSession } from '../session/open-session.js';

/** What the options say for all sessions. */
const ATTRIBUTES = [
  'path',
  'domain',
  'secure',
  'httpOnly',
  'sameSite',
  'partitioned',
  'priority',
] as const satisfies (keyof ResolvedSessionOptions)[];

type Attributes = Pick<ResolvedSessionOptions, (typeof ATTRIBUTES)[number]>;

export interface ExpressSessionCookieData extends Attributes {
  /** Milliseconds; null: until the browser closes. */
  originalMaxAge: number | null;
  expires: Date | null;
}

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
  readonly #open: () => OpenSession;
  /** When it expires, since that was changed or restarted in this request. */
  #movedTo: Date | undefined;
  #past: ExpressSessionCookieData | undefined;

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

  /** @param open the session, or throws if it is not loaded */
  constructor(options: ResolvedSessionOptions, open: () => OpenSession) {
    this.#options = options;
    this.#open = open;
  }

  /** Milliseconds that the session lives without being used; null: the cookie ends with the browser. */
  get originalMaxAge(): number | null {
    if (this.#past) {
      return this.#past.originalMaxAge;
    }
    const { timeout } = this.#open().session;
    return this.#options.persistent ? timeout * 60_000 : null;
  }

  set originalMaxAge(ms: number | null) {
    this.maxAge = ms;
  }

  /**
   * Milliseconds until it expires. Set it to give this session its own idle timeout ("remember me").
   * @throws RangeError; TypeError for what only the option `persistent` decides
   */
  get maxAge(): number | null {
    const { expires } = this;
    return expires && expires.getTime() - Date.now();
  }

  set maxAge(ms: number | null) {
    if (typeof ms !== 'number' || !this.#options.persistent) {
      throw new TypeError(
        'Whether a cookie ends with the browser is the same for all sessions: set the option persistent of ' +
          'SessionsModule.forRoot(), and req.session.cookie.maxAge to milliseconds only if it is true',
      );
    }
    if (!(ms > 0 && Number.isFinite(ms))) {
      throw new RangeError(
        `req.session.cookie.maxAge must be milliseconds above 0, not ${ms}; to end the session, use req.session.destroy()`,
      );
    }
    this.#open().session.timeout = ms / 60_000;
    this.restart();
  }

  /** As `maxAge`, as a date. */
  get expires(): Date | null {
    if (this.#past) {
      return this.#past.expires;
    }
    const { expiresAt } = this.#open();
    return this.#options.persistent ? (this.#movedTo ?? new Date(expiresAt)) : null;
  }

  set expires(date: Date | null) {
    this.maxAge = date instanceof Date ? date.getTime() - Date.now() : null;
  }

  toJSON(): ExpressSessionCookieData {
    const { originalMaxAge, expires } = this;
    const attributes = Object.fromEntries(ATTRIBUTES.map(name => [name, this.#options[name]]));
    return { originalMaxAge, expires, ...(attributes as unknown as Attributes) };
  }

  /** As at the end of the request, when the session is touched. */
  restart(): void {
    this.#movedTo = new Date(Date.now() + this.#open().session.timeout * 60_000);
  }

  /** Takes the age from another session's cookie: who copies all properties of a session means that. */
  adopt(cookie: unknown): void {
    const { originalMaxAge } = (cookie ?? {}) as Partial<ExpressSessionCookieData>;
    if (typeof originalMaxAge === 'number' && originalMaxAge !== this.originalMaxAge) {
      this.maxAge = originalMaxAge;
    }
  }

  /** The session has ended, and this is what its cookie was. */
  end(past: ExpressSessionCookieData): void {
    this.#past = past;
  }
}
