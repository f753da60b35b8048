import { Logger } from '@nestjs/common';
import { parseSetCookie, stringifySetCookie, type SetCookie } from 'cookie';
import cookieParser from 'cookie-parser';
import { sign } from 'cookie-signature';
import { LRUCache } from 'lru-cache';
import type { IncomingHttpHeaders, OutgoingHttpHeader } from 'node:http';
import { unescape } from 'node:querystring';
import { isSameDomain } from '../options/cookie-domain.js';
import { isCookiePath } from '../options/cookie-path.js';
import { generateSessionId } from '../options/generate-id-option.js';
import type { ResolvedSessionOptions } from '../options/session-options.js';
import { sessionKey } from '../session/session-id.js';
import type { SentId } from '../session/session-identity.js';
import { SessionIdCarrier } from '../session/session-id-carrier.js';

/** What the default `generateId` makes. */
const DEFAULT_ID = '[A-Za-z0-9_-]{43}';
const CUSTOM_ID = '[A-Za-z0-9\\-_.~]{16,256}';
/** Of all bindings that are kept, and of the objects of one. */
const MAX_BYTES = 2 * 1024 * 1024;
const BYTES_A_BINDING = 600;
/** Of a request's cookies of the name, how many are looked up. */
const MAX_CANDIDATES = 4;

const GONE = { maxAge: 0, expires: new Date(0) };

/** An id, and the cookie's value that binds to it, as it is sent: signed, if there is a secret, with the first one. */
interface Binding extends SentId {
  readonly value: string;
}

type Age = Pick<SetCookie, 'maxAge' | 'expires'>;
type Place = Pick<SetCookie, 'path' | 'domain'>;

/** The session's cookie: its value to an id and back, and its attributes. CherryPy's `set_response_cookie`. */
export class SessionCookie extends SessionIdCarrier {
  // Not even util.inspect sees these: the options hold the secrets.
  readonly #options: ResolvedSessionOptions;
  /** By id; of signed ones that came, only those that are right. To sign takes a tenth of a session's own cost. */
  readonly #bindings: LRUCache<string, Binding>;
  /** Finds the cookies of the name, in time that is in proportion to the header's length. */
  readonly #pair: RegExp;
  /** What a value has to look like: a look costs less than a signature. */
  readonly #shape: RegExp;
  /** The attributes of the last cookie, and what they depend on: to write them takes a tenth of a session's own cost. */
  #last = { dependsOn: '', attributes: '' };
  #hasWarned = false;

  constructor(options: ResolvedSessionOptions) {
    super();
    const { name, secret: secrets, generateId } = options;
    this.#options = options;
    this.#bindings = new LRUCache({
      maxSize: MAX_BYTES,
      sizeCalculation: ({ value }) => BYTES_A_BINDING + 2 * value.length,
      memoMethod: id => {
        const value = secrets.length > 0 ? encodeURIComponent(`s:${sign(id, secrets[0]!)}`) : id;
        return { id, key: sessionKey(id), value };
      },
    });
    this.#pair = new RegExp(`(?:^|;)[ \\t]*${name.replace(/[$*+.^|]/g, '\\$&')}\\s*=([^;]*)`, 'g');
    const id = generateId === generateSessionId ? DEFAULT_ID : CUSTOM_ID;
    this.#shape = new RegExp(secrets.length > 0 ? `^s(?::|%3A)(${id})\\.[^.]+$` : `^(${id})$`);
  }

  readIds(headers: IncomingHttpHeaders): readonly SentId[] {
    return this.read(headers) ?? [];
  }

  /** The values of the request's cookies of the name, in their order and without quotes. */
  valuesIn({ cookie = '' }: IncomingHttpHeaders): string[] {
    const values: string[] = [];
    for (let pair = this.#pair.exec(cookie); pair; pair = this.#pair.exec(cookie)) {
      values.push(pair[1]!.trim().replace(/^"(.*)"$/s, '$1'));
    }
    return values;
  }

  /**
   * The ids in the request's cookies of the name, at most four. A browser sends several if they were set with different
   * paths or domains: which of them is the user's, the storage knows. Those that are malformed, or signed wrongly, are as
   * good as none.
   * @returns undefined without a cookie of the name
   */
  read(headers: IncomingHttpHeaders): SentId[] | undefined {
    const values = this.valuesIn(headers);
    const found: SentId[] = [];
    for (const value of values) {
      const sent = this.#verify(value);
      // One id may come in two forms: signed with an old secret, and with the new one.
      if (sent && !found.includes(sent) && found.push(sent) === MAX_CANDIDATES) {
        break;
      }
    }
    return values.length > 0 ? found : undefined;
  }

  bind(
    id: string,
    expiresAt: number,
    isSecure: boolean,
    headers: IncomingHttpHeaders,
    persistent = this.#options.persistent,
  ): string {
    const { name } = this.#options;
    const maxAge = Math.max(0, Math.round((expiresAt - Date.now()) / 1000));
    const expires = Math.floor(expiresAt / 1000); // most sessions of one second expire in the same second
    const place = this.#place(headers);
    const dependsOn = `${maxAge} ${expires} ${persistent} ${isSecure} ${place.path}`;
    if (this.#last.dependsOn !== dependsOn) {
      const age = persistent ? { maxAge, expires: new Date(expires * 1000) } : {};
      const attributes = this.#stringify('', age, place, isSecure).slice(`${name}=`.length);
      this.#last = { dependsOn, attributes };
      this.#warnOverHttp(isSecure);
    }
    return `${name}=${this.#bindings.memo(id).value}${this.#last.attributes}`;
  }

  /** The `Set-Cookie` that makes the client forget its id. */
  clear(isSecure: boolean, headers: IncomingHttpHeaders): string {
    return this.#stringify('', GONE, this.#place(headers), isSecure);
  }

  /** The `Set-Cookie`s that make the client forget what an earlier configuration set: the option `clearAlso`. */
  clearOld(isSecure: boolean, headers: IncomingHttpHeaders = {}): string[] {
    return this.#options.clearAlso
      .filter(place => !this.#isOwnPlace(place, headers)) // with `pathHeader`, it may be
      .map(place => this.#stringify('', GONE, place, isSecure));
  }

  /**
   * Tells the application's own statements about the session's cookie from those about others. A cookie with another
   * path or domain, or none, is another cookie, whatever its name.
   * @param setCookies the response's `Set-Cookie`
   * @returns those about others, in their order and as they are; whether the application clears the session's
   */
  statementOf(setCookies: OutgoingHttpHeader | readonly string[] | undefined, headers: IncomingHttpHeaders) {
    const others: string[] = [];
    let isCleared = false;
    for (const text of [setCookies ?? []].flat().map(String)) {
      const set = parseSetCookie(text);
      if (set.name === this.#options.name && this.#isOwnPlace(set, headers)) {
        isCleared ||= isExpired(set);
      } else {
        others.push(text);
      }
    }
    return { others, isCleared };
  }

  #verify(value: string): Binding | undefined {
    const { secret: secrets } = this.#options;
    const id = this.#shape.exec(value)?.[1];
    const isRight =
      id !== undefined &&
      (secrets.length === 0 ||
        this.#bindings.get(id)?.value === value ||
        cookieParser.signedCookie(unescape(value), secrets) === id);
    return isRight ? this.#bindings.memo(id) : undefined;
  }

  /** One by one: to spread objects into the literal takes 7 µs. */
  #stringify(value: string, { maxAge, expires }: Age, { path, domain }: Place, isSecure: boolean): string {
    const { name, secure, httpOnly, sameSite, partitioned, priority } = this.#options;
    const cookie: SetCookie = {
      name,
      value,
      maxAge,
      expires,
      path,
      domain,
      secure: secure === 'auto' ? isSecure : secure,
      httpOnly,
      sameSite,
      partitioned,
      priority,
    };
    return stringifySetCookie(cookie, { encode: String }); // the value is encoded
  }

  #isOwnPlace({ path, domain }: Place, headers: IncomingHttpHeaders): boolean {
    const own = this.#place(headers);
    return path === own.path && isSameDomain(domain, own.domain);
  }

  /** With `pathHeader`, what a request says is used only if it is a path and nothing else. */
  #place(headers: IncomingHttpHeaders): Place {
    const { path, pathHeader, domain } = this.#options;
    const asked = pathHeader === undefined ? undefined : headers[pathHeader];
    return { path: isCookiePath(asked) ? asked : path, domain };
  }

  #warnOverHttp(isSecure: boolean): void {
    const { secure, sameSite, partitioned } = this.#options;
    const reason = sameSite === 'none' ? `sameSite: 'none'` : partitioned ? 'partitioned: true' : undefined;
    if (reason !== undefined && secure === 'auto' && !isSecure && !this.#hasWarned) {
      this.#hasWarned = true;
      new Logger('Sessions').warn(
        `The session's cookie went out over HTTP, so without Secure: with ${reason}, browsers drop it. Serve over ` +
          `HTTPS; if a proxy does, trust it (app.set('trust proxy', 1), or Fastify's trustProxy), or set secure: true`,
      );
    }
  }
}

/** As browsers see it: `Max-Age` is what counts, and whoever is expired is removed, whatever its value. */
const isExpired = ({ maxAge, expires }: SetCookie): boolean =>
  maxAge === undefined ? expires !== undefined && expires.getTime() <= Date.now() : maxAge <= 0;
