import { Logger } from '@nestjs/common';
import { parseSetCookie, stringifySetCookie, type SetCookie } from 'cookie';
import { sign, unsign } from 'cookie-signature';
import { LRUCache } from 'lru-cache';
import type { IncomingHttpHeaders, OutgoingHttpHeader } from 'node:http';
import { isSameDomain } from '../options/cookie-domain.js';
import { isCookiePath } from '../options/cookie-path.js';
import type { ResolvedSessionOptions } from '../options/session-options.js';
import { sessionKey } from '../session/session-id.js';
import { SessionIdReader } from '../session/session-store.js';
import { findCookie } from './cookie-header.js';

/** What the default `generateId` makes. */
const DEFAULT_ID = /^[A-Za-z0-9_-]{43}$/;
const CUSTOM_ID = /^[A-Za-z0-9\-_.~]{16,256}$/;
/** Characters; a signed and encoded cookie with the longest id is shorter. */
const MAX_VALUE = 512;
/** Of all cookies that are known to be right, and of the objects of one. */
const MAX_VERIFIED_BYTES = 2 * 1024 * 1024;
const BYTES_A_COOKIE = 600;
/** Of a request's cookies of the name, how many are looked up. */
const MAX_CANDIDATES = 4;

const NO_OTHERS: readonly SentCookie[] = Object.freeze([]);
const GONE = { maxAge: 0, expires: new Date(0) };

/** What a request's cookie says. */
export interface SentCookie {
  readonly id: string;
  /** What storages know the id by. */
  readonly key: string;
  /** The value that binds to the same id; undefined if that has to be signed anew, with the first secret. */
  readonly value: string | undefined;
  /** Whether the cookie came with other values, too: then what an earlier configuration set is to be cleared. */
  readonly isAmbiguous: boolean;
  /** The ids of further cookies, at most three: which of all is the user's, the storage knows. */
  readonly others: readonly SentCookie[];
}

/** What an answer says of the session's cookie before the session says it. */
export interface CookieStatement {
  /** `Set-Cookie` values of other cookies, in their order and as they are. */
  readonly others: string[];
  /** Whether the application clears the session's cookie by itself. */
  readonly isCleared: boolean;
}

/** What follows `name=value` in a `Set-Cookie`, and all that it depends on. */
interface Attributes {
  text: string;
  maxAge: number;
  /** Seconds since 1970. */
  expires: number;
  isSecure: boolean;
  path: string;
}

type Age = Pick<SetCookie, 'maxAge' | 'expires'>;

/** The session's cookie: its value to an id and back, and its attributes. CherryPy's `set_response_cookie`. */
export class SessionCookie extends SessionIdReader {
  // Not even util.inspect sees these: the options hold the secrets.
  /** By the value as it was sent: to check a signature takes a tenth of a session's own cost. Only right ones are kept. */
  readonly #verified = new LRUCache<string, SentCookie>({
    maxSize: MAX_VERIFIED_BYTES,
    sizeCalculation: (_sent, text) => BYTES_A_COOKIE + 2 * text.length,
  });
  readonly #options: ResolvedSessionOptions;
  readonly #attributes: Omit<SetCookie, 'name' | 'value'>;
  readonly #idShape: RegExp;
  /** Of the last cookie: most sessions of one second expire in the same second. */
  #attributesOfLast: Attributes | undefined;
  #mayWarn: boolean;

  constructor(options: ResolvedSessionOptions) {
    super();
    const { domain, httpOnly, sameSite, partitioned, priority, secure } = options;
    this.#options = options;
    this.#attributes = { domain, httpOnly, sameSite, partitioned, priority };
    this.#idShape = options.customId ? CUSTOM_ID : DEFAULT_ID;
    this.#mayWarn = secure === 'auto' && (sameSite === 'none' || partitioned);
  }

  readIds(headers: IncomingHttpHeaders): readonly SentCookie[] {
    const sent = this.read(headers);
    return sent ? [sent, ...sent.others] : [];
  }

  /**
   * What the request's cookie says. A browser sends several of the name if they were set with different paths or
   * domains: those that are malformed, or signed wrongly, are as good as none.
   * @returns undefined without a cookie of the name; null if none of them holds an id
   */
  read(headers: IncomingHttpHeaders): SentCookie | null | undefined {
    const values = headers.cookie === undefined ? undefined : findCookie(headers.cookie, this.#options.name);
    if (values === undefined) {
      return undefined;
    }
    return typeof values === 'string' ? this.#verify(values, false) : this.#readSeveral(values);
  }

  /**
   * The `Set-Cookie` that binds the client to an id.
   * @param isSecure whether the request came over HTTPS
   * @param sent the cookie that the request had
   */
  bind(
    id: string,
    expiresAt: number,
    isSecure: boolean,
    headers: IncomingHttpHeaders,
    sent?: SentCookie | null,
  ): string {
    const { name, secrets, persistent } = this.#options;
    const known = sent?.id === id ? sent.value : undefined;
    const value = known ?? (secrets.length > 0 ? `s:${sign(id, secrets[0]!)}` : id);
    const maxAge = Math.max(0, Math.round((expiresAt - Date.now()) / 1000));
    const expires = Math.floor(expiresAt / 1000);
    const path = this.#path(headers);
    let last = this.#attributesOfLast;
    if (
      last?.expires !== expires ||
      last.maxAge !== maxAge ||
      last.isSecure !== isSecure ||
      last.path !== path
    ) {
      const age = persistent ? { maxAge, expires: new Date(expires * 1000) } : {};
      const text = this.#stringify({ ...age, path }, isSecure).slice(`${name}=`.length);
      last = { text, maxAge, expires, isSecure, path };
      this.#attributesOfLast = last;
      this.#warnOverHttp(isSecure);
    }
    return `${name}=${encodeURIComponent(value)}${last.text}`;
  }

  /** The `Set-Cookie` that makes the client forget its id. */
  clear(isSecure: boolean, headers: IncomingHttpHeaders): string {
    return this.#stringify({ ...GONE, path: this.#path(headers) }, isSecure);
  }

  /** The `Set-Cookie`s that make the client forget what an earlier configuration set: the option `clearAlso`. */
  clearOld(isSecure: boolean, headers: IncomingHttpHeaders = {}): string[] {
    const { clearAlso, domain: ownDomain } = this.#options;
    const ownPath = this.#path(headers);
    return clearAlso
      .filter(({ path, domain }) => path !== ownPath || !isSameDomain(domain, ownDomain)) // with `pathHeader`
      .map(({ path, domain }) => this.#stringify({ ...GONE, path, domain }, isSecure));
  }

  /**
   * Tells the application's own statements about the session's cookie from those about others. A cookie with another
   * path or domain, or none, is another cookie, whatever its name.
   * @param setCookies the response's `Set-Cookie`
   */
  statementOf(
    setCookies: OutgoingHttpHeader | readonly string[] | undefined,
    headers: IncomingHttpHeaders,
  ): CookieStatement {
    const others: string[] = [];
    let isCleared = false;
    for (const text of [setCookies ?? []].flat().map(String)) {
      const own = this.#parseOwn(text, headers);
      if (own) {
        isCleared ||= isExpired(own);
      } else {
        others.push(text);
      }
    }
    return { others, isCleared };
  }

  #parseOwn(text: string, headers: IncomingHttpHeaders): SetCookie | undefined {
    const { name, domain } = this.#options;
    const set = text.trimStart().startsWith(name) ? parseSetCookie(text) : undefined;
    const isOwn = set?.name === name && set.path === this.#path(headers) && isSameDomain(set.domain, domain);
    return isOwn ? set : undefined;
  }

  #readSeveral(values: Iterable<string>): SentCookie | null {
    const found: SentCookie[] = [];
    for (const value of values) {
      const sent = this.#verify(value, true);
      // One id may come in two forms: signed with an old secret, and with the new one.
      if (sent && !found.some(({ id }) => id === sent.id) && found.push(sent) === MAX_CANDIDATES) {
        break;
      }
    }
    const [first, ...others] = found;
    return first ? { ...first, others } : null;
  }

  #verify(text: string, isAmbiguous: boolean): SentCookie | null {
    const known = isAmbiguous ? undefined : this.#verified.get(text);
    if (known) {
      return known;
    }
    const found = text.length > MAX_VALUE ? undefined : this.#unsign(text);
    if (!found) {
      return null;
    }
    const { id, value } = found;
    const sent: SentCookie = { id, key: sessionKey(id), value, isAmbiguous, others: NO_OTHERS };
    if (!isAmbiguous && this.#options.secrets.length > 0) {
      this.#verified.set(text, sent);
    }
    return sent;
  }

  #unsign(text: string): Pick<SentCookie, 'id' | 'value'> | undefined {
    const { secrets } = this.#options;
    if (secrets.length === 0) {
      return this.#idShape.test(text) ? { id: text, value: text } : undefined;
    }
    const value = decode(text);
    const id = value?.startsWith('s:') ? value.slice(2, Math.max(2, value.lastIndexOf('.'))) : '';
    // First the shape, which costs less than a signature.
    if (!this.#idShape.test(id)) {
      return undefined;
    }
    const by = secrets.findIndex(secret => unsign(value!.slice(2), secret) !== false);
    return by < 0 ? undefined : { id, value: by === 0 ? value : undefined };
  }

  #stringify(attributes: Age & Pick<SetCookie, 'path' | 'domain'>, isSecure: boolean): string {
    const { name, secure } = this.#options;
    return stringifySetCookie({
      name,
      value: '',
      ...this.#attributes,
      ...attributes,
      secure: secure === 'auto' ? isSecure : secure,
    });
  }

  /** With `pathHeader`, what a request says is used only if it is a path and nothing else. */
  #path(headers: IncomingHttpHeaders): string {
    const { path, pathHeader } = this.#options;
    const asked = pathHeader === undefined ? undefined : headers[pathHeader];
    return isCookiePath(asked) ? asked : path;
  }

  #warnOverHttp(isSecure: boolean): void {
    if (this.#mayWarn && !isSecure) {
      this.#mayWarn = false;
      const reason = this.#options.sameSite === 'none' ? `sameSite: 'none'` : 'partitioned: true';
      new Logger('Sessions').warn(
        `The session's cookie went out over HTTP, so without Secure: with ${reason}, browsers drop it. Serve over ` +
          `HTTPS; if a proxy does, trust it (app.set('trust proxy', 1), or Fastify's trustProxy), or set secure: true`,
      );
    }
  }
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** As browsers see it: `Max-Age` is what counts, and whoever is expired is removed, whatever its value. */
const isExpired = ({ maxAge, expires }: SetCookie): boolean =>
  maxAge === undefined ? expires !== undefined && expires.getTime() <= Date.now() : maxAge <= 0;
