import { Logger } from '@nestjs/common';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { OpenSession } from '../session/open-session.js';
import type { SentCookie, SessionCookie } from './session-cookie.js';

interface HeaderContext {
  /** The cookie that the request had; null for one that holds no id. */
  sent: SentCookie | null | undefined;
  isSecure: boolean;
  /** A `Set-Cookie` of another package's cookie, to go out with one of this package's. */
  alsoClear: string | undefined;
}

/** The applications that have been told that they let shared caches keep cookies. */
const warned = new WeakSet<SessionCookie>();

/** Sets the headers that an answer gets from a session that was used: the cookie, and what caches must know. */
export function writeSessionHeaders(
  res: ServerResponse,
  { headers }: IncomingMessage,
  statusCode: number,
  open: OpenSession,
  cookie: SessionCookie,
  { sent, isSecure, alsoClear }: HeaderContext,
): void {
  addVaryCookie(res);
  const present = res.getHeader('set-cookie');
  const own = present === undefined ? undefined : cookie.statementOf(present, headers);
  if (own?.isCleared) {
    open.expire();
  }
  const change = open.cookieChange();
  const cacheControl = String(res.getHeader('cache-control') ?? '');
  const isShared = /(^|[\s,])(public|s-maxage)\b/i.test(cacheControl);
  const isRenewal = change === 'set' && open.id === open.originalId && alsoClear === undefined;
  // A cache would give everybody this user's cookie. A mere renewal can wait for the next answer.
  if (change === 'none' || (isRenewal && (isShared || statusCode === 304))) {
    return;
  }
  const value =
    change === 'set'
      ? cookie.bind(open.id, open.expiresAt, isSecure, headers, sent)
      : cookie.clear(isSecure, headers);
  const old = sent?.isAmbiguous || change === 'clear' ? cookie.clearOld(isSecure, headers) : [];
  const all = [...(own?.others ?? []), value, ...old, ...(alsoClear === undefined ? [] : [alsoClear])];
  res.setHeader('Set-Cookie', all.length === 1 ? value : all);
  if (cacheControl === '') {
    res.setHeader('Cache-Control', 'no-cache="Set-Cookie"');
  } else if (isShared) {
    res.setHeader('Cache-Control', makePrivate(cacheControl, cookie));
  }
}

/** The answer depends on the cookie: caches must know. */
function addVaryCookie(res: ServerResponse): void {
  const present = res.getHeader('vary');
  if (present === undefined) {
    res.setHeader('Vary', 'Cookie');
    return;
  }
  const vary = [present].flat().join(', ');
  if (!/(^|,)\s*(\*|cookie)\s*(,|$)/i.test(vary)) {
    res.setHeader('Vary', vary === '' ? 'Cookie' : `${vary}, Cookie`);
  }
}

function makePrivate(cacheControl: string, cookie: SessionCookie): string {
  if (!warned.has(cookie)) {
    warned.add(cookie);
    new Logger('Sessions').warn(
      `An answer with a new session cookie had Cache-Control: ${cacheControl}; it went out as private, as a shared ` +
        'cache would give the cookie to others. Do not begin or end sessions on routes that shared caches may keep',
    );
  }
  const kept = cacheControl
    .split(',')
    .map(directive => directive.trim())
    .filter(directive => directive !== '' && !/^(public|private|s-maxage)\b/i.test(directive));
  return ['private', ...kept].join(', ');
}
