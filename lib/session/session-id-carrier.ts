import type { IncomingHttpHeaders } from 'node:http';
import type { SentId } from './session-identity.js';

/** A session's cookie, for a client that did not get it in an answer. */
export interface SessionCookieText {
  /** The value of a `Set-Cookie` header. */
  readonly setCookie: string;
  /** The same as a client sends it, in a `Cookie` header: `<name>=<value>`. */
  readonly cookie: string;
}

/** Carries session ids to the client and back. */
export abstract class SessionIdCarrier {
  /** Those that the request's cookie may mean: usually one; none if there is no cookie, or none that is well-formed. */
  abstract readIds(headers: IncomingHttpHeaders): readonly SentId[];

  /**
   * The `Set-Cookie` that binds a client to a session.
   * @param expiresAt milliseconds since 1970
   * @param isSecure whether the client comes over HTTPS
   * @param headers of the request
   * @param persistent whether it outlives the browser
   */
  abstract bind(
    id: string,
    expiresAt: number,
    isSecure: boolean,
    headers: IncomingHttpHeaders,
    persistent?: boolean,
  ): string;
}
