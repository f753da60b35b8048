import { stringifySetCookie, type SetCookie } from 'cookie';
import cookieParser from 'cookie-parser';
import { sign, unsign } from 'cookie-signature';
import type { IncomingHttpHeaders } from 'node:http';
import { isCookiePath } from '../options/cookie-path.js';
import type { ResolvedSessionOptions } from '../options/session-options.js';
import { sessionKey } from '../session/session-id.js';
import { SessionIdReader } from '../session/session-store.js';

/** What the default `generateId` makes. */
const DEFAULT_ID = /^[A-Za-z0-9_-]{43}$/;
const CUSTOM_ID = /^[A-Za-z0-9\-_.~]{16,256}$/;
/** Characters; a signed and encoded cookie with the longest id is shorter. */
const MAX_VALUE = 512;

/** How many signatures are known to be right. */
const MAX_VERIFIED = 1000;

/** What a request's cookie says. */
export interface SentCookie {
  readonly id: string;
  /** What storages know the id by. */
  readonly key: string;
  /** `name=value` that binds to the same id, unless that has to be signed anew, with the first secret. */
  readonly pair: string | undefined;
}

export interface SentCookies {
  ids: readonly SentCookie[];
  wasSent: boolean;
  isAmbiguous: boolean;
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

/** The session's cookie: its value to an id and back, and its attributes. CherryPy's `set_response_cookie`. */
export class SessionCookie extends SessionIdReader {
  private readonly attributes: Omit<SetCookie, 'name' | 'value'>;
  private readonly idShape: RegExp;
  /**
   * By the value as it was sent. Who is active sends the same one again and again; to check it takes 3 % of a
   * request's time. Only right ones are kept.
   */
  private readonly verified = new Map<string, SentCookie>();
  /** Of the last cookie: most sessions of one second expire in the same second. */
  private attributesOfLast: Attributes | undefined;

  constructor(private readonly options: ResolvedSessionOptions) {
    super();
    const { domain, httpOnly, sameSite, partitioned, priority } = options;
    this.attributes = { domain, httpOnly, sameSite, partitioned, priority };
    this.idShape = options.customId ? CUSTOM_ID : DEFAULT_ID;
  }

  /**
   * The id in the request's cookie. A cookie that is malformed, signed wrongly or there twice (which one is
   * the user's?) is as good as none.
   */
  readIds(headers: IncomingHttpHeaders): readonly SentCookie[] {
    return this.read(headers).ids;
  }

  read(headers: IncomingHttpHeaders): SentCookies {
    const sent = this.readOne(headers);
    return { ids: sent ? [sent] : [], wasSent: sent !== undefined, isAmbiguous: false };
  }

  statementOf(setCookies: number | string | string[], _headers: IncomingHttpHeaders) {
    return { others: this.others(setCookies), clears: false };
  }

  clearOld(_isSecure: boolean): string[] {
    return [];
  }

  /** As `readId`, with what saves `bind` from signing the same id again. */
  readOne(headers: IncomingHttpHeaders): SentCookie | null | undefined {
    const value = headers.cookie === undefined ? undefined : this.findValue(headers.cookie);
    if (value === undefined || value === null || value.length > MAX_VALUE) {
      return value === undefined ? undefined : null;
    }
    const known = this.verified.get(value);
    if (known) {
      return known;
    }
    const found =
      this.options.secrets.length > 0 ? this.unsign(value) : { id: value, pair: this.pair(value) };
    if (!found || !this.idShape.test(found.id)) {
      return null;
    }
    const sent: SentCookie = { ...found, key: sessionKey(found.id) };
    if (this.verified.size >= MAX_VERIFIED) {
      this.verified.clear();
    }
    this.verified.set(value, sent);
    return sent;
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
    cookies?: SentCookies,
  ): string {
    const sent = cookies?.ids.find(one => one.id === id);
    const { secrets } = this.options;
    const known = sent?.id === id ? sent.pair : undefined;
    const pair = known ?? this.pair(secrets.length > 0 ? `s:${sign(id, secrets[0]!)}` : id);
    const maxAge = Math.max(0, Math.round((expiresAt - Date.now()) / 1000));
    const expires = Math.floor(expiresAt / 1000);
    const path = this.path(headers);
    let last = this.attributesOfLast;
    if (
      last?.expires !== expires ||
      last.maxAge !== maxAge ||
      last.isSecure !== isSecure ||
      last.path !== path
    ) {
      const age = this.options.persistent ? { maxAge, expires: new Date(expires * 1000) } : undefined;
      const text = this.stringify('', isSecure, path, age).slice(`${this.options.name}=`.length);
      last = { text, maxAge, expires, isSecure, path };
      this.attributesOfLast = last;
    }
    return pair + last.text;
  }

  /** The `Set-Cookie` that makes the client forget its id. */
  clear(isSecure: boolean, headers: IncomingHttpHeaders): string {
    return this.stringify('', isSecure, this.path(headers), { maxAge: 0, expires: new Date(0) });
  }

  /** Of the response's `Set-Cookie` values, those that set other cookies. */
  others(setCookies: number | string | string[]): string[] {
    const own = `${this.options.name}=`;
    return [setCookies]
      .flat()
      .map(String)
      .filter(other => !other.startsWith(own));
  }

  /** The raw value; null if the cookie is there more than once. */
  private findValue(header: string): string | null | undefined {
    const { name } = this.options;
    let found: string | undefined;
    // Most cookies of most requests are not this one: no table of all of them is made.
    for (let at = header.indexOf(name); at >= 0; at = header.indexOf(name, at + name.length)) {
      const end = header.indexOf(';', at);
      const pair = header.slice(at, end < 0 ? undefined : end);
      const equals = pair.indexOf('=');
      if (equals > 0 && isPairStart(header, at) && pair.slice(0, equals).trimEnd() === name) {
        if (found !== undefined) {
          return null;
        }
        found = pair.slice(equals + 1).trim();
      }
    }
    return found?.startsWith('"') && found.endsWith('"') ? found.slice(1, -1) : found;
  }

  private unsign(value: string): Pick<SentCookie, 'id' | 'pair'> | undefined {
    const { secrets } = this.options;
    let decoded: string;
    try {
      decoded = decodeURIComponent(value);
    } catch {
      return undefined;
    }
    if (!decoded.startsWith('s:')) {
      return undefined;
    }
    // Nearly every cookie is signed with the first secret; cookie-parser takes twice the time.
    const current = unsign(decoded.slice(2), secrets[0]!);
    if (current !== false) {
      return { id: current, pair: this.pair(decoded) };
    }
    const id = secrets.length > 1 && cookieParser.signedCookie(decoded, secrets.slice(1));
    return id ? { id, pair: undefined } : undefined;
  }

  private pair(value: string): string {
    return `${this.options.name}=${encodeURIComponent(value)}`;
  }

  private stringify(
    value: string,
    isSecure: boolean,
    path: string,
    age: Pick<SetCookie, 'maxAge' | 'expires'> | undefined,
  ): string {
    const { name, secure } = this.options;
    return stringifySetCookie({
      name,
      value,
      ...this.attributes,
      ...age,
      path,
      secure: secure === 'auto' ? isSecure : secure,
    });
  }

  /** With `pathHeader`, what a request says is used only if it is a path and nothing else. */
  private path(headers: IncomingHttpHeaders): string {
    const { path, pathHeader } = this.options;
    const asked = pathHeader === undefined ? undefined : headers[pathHeader];
    return isCookiePath(asked) ? asked : path;
  }
}

function isPairStart(header: string, at: number): boolean {
  let before = at - 1;
  while (before >= 0 && (header[before] === ' ' || header[before] === '\t')) {
    before--;
  }
  return before < 0 || header[before] === ';';
}
