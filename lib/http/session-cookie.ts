import { stringifySetCookie, type SetCookie } from 'cookie';
import cookieParser from 'cookie-parser';
import { sign } from 'cookie-signature';
import type { IncomingHttpHeaders } from 'node:http';
import { isCookiePath } from '../options/cookie-path.js';
import type { ResolvedSessionOptions } from '../options/session-options.js';
import { SessionIdReader } from '../session/session-store.js';

/** What the default `generateId` makes. */
const DEFAULT_ID = /^[A-Za-z0-9_-]{43}$/;
const CUSTOM_ID = /^[A-Za-z0-9\-_.~]{16,256}$/;
/** Characters; a signed and encoded cookie with the longest id is shorter. */
const MAX_VALUE = 512;

/** The session's cookie: its value to an id and back, and its attributes. CherryPy's `set_response_cookie`. */
export class SessionCookie extends SessionIdReader {
  private readonly attributes: Omit<SetCookie, 'name' | 'value'>;
  private readonly idShape: RegExp;

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
  readId(headers: IncomingHttpHeaders): string | null | undefined {
    const value = headers.cookie === undefined ? undefined : this.findValue(headers.cookie);
    if (value === undefined || value === null || value.length > MAX_VALUE) {
      return value === undefined ? undefined : null;
    }
    const id = this.options.secrets.length > 0 ? this.unsign(value) : value;
    return id !== undefined && this.idShape.test(id) ? id : null;
  }

  /**
   * The `Set-Cookie` that binds the client to an id.
   * @param isSecure whether the request came over HTTPS
   */
  bind(id: string, expiresAt: number, isSecure: boolean, headers: IncomingHttpHeaders): string {
    const { secrets, persistent } = this.options;
    const value = secrets.length > 0 ? `s:${sign(id, secrets[0]!)}` : id;
    const maxAge = Math.max(0, Math.round((expiresAt - Date.now()) / 1000));
    const age = persistent ? { maxAge, expires: new Date(expiresAt) } : undefined;
    return this.stringify(value, isSecure, headers, age);
  }

  /** The `Set-Cookie` that makes the client forget its id. */
  clear(isSecure: boolean, headers: IncomingHttpHeaders): string {
    return this.stringify('', isSecure, headers, { maxAge: 0, expires: new Date(0) });
  }

  /** Whether a `Set-Cookie` value sets this cookie. */
  isOwn(setCookie: string): boolean {
    return setCookie.startsWith(`${this.options.name}=`);
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

  private unsign(value: string): string | undefined {
    let decoded: string;
    try {
      decoded = decodeURIComponent(value);
    } catch {
      return undefined;
    }
    const id = decoded.startsWith('s:') && cookieParser.signedCookie(decoded, this.options.secrets);
    return id || undefined;
  }

  private stringify(
    value: string,
    isSecure: boolean,
    headers: IncomingHttpHeaders,
    age: Pick<SetCookie, 'maxAge' | 'expires'> | undefined,
  ): string {
    const { name, secure } = this.options;
    return stringifySetCookie({
      name,
      value,
      ...this.attributes,
      ...age,
      path: this.path(headers),
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
