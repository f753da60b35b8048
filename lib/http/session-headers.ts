import { Logger } from '@nestjs/common';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { OpenSession } from '../session/open-session.js';
import type { SessionCookie } from './session-cookie.js';

/** The applications that have been told that they let shared caches keep cookies. */
const warned = new WeakSet<SessionCookie>();

/**
 * Sets the headers that an answer gets from a session that was used: the cookie, and what caches must know.
 * @param alsoClear a `Set-Cookie` of another package's cookie, to go out with one of this package's
 */
export function writeSessionHeaders(
  res: ServerResponse,
  { headers }: IncomingMessage,
  statusCode: number,
  open: OpenSession,
  cookie: SessionCookie,
  isSecure: boolean,
  alsoClear: readonly string[],
): void {
  const vary = String(res.getHeader('vary') ?? '');
  if (!/(^|,)\s*(\*|cookie)\s*(,|$)/i.test(vary)) {
    res.setHeader('Vary', vary === '' ? 'Cookie' : `${vary}, Cookie`);
  }
  const present = res.getHeader('set-cookie');
  const own = present === undefined ? undefined : cookie.statementOf(present, headers);
  if (own?.isCleared) {
    open.expire();
  }
  const change = open.cookieChange();
  const cacheControl = String(res.getHeader('cache-control') ?? '');
  const isShared = /(^|[\s,])(public|s-maxage)\b/i.test(cacheControl);
  const isRenewal = change === 'set' && open.id === open.originalId && alsoClear.length === 0;
  // A cache would give everybody this user's cookie. A mere renewal can wait for the next answer.
  if (change === 'none' || (isRenewal && (isShared || statusCode === 304))) {
    return;
  }
  const value =
    change === 'set'
      ? cookie.bind(open.id, open.expiresAt, isSecure, headers, open.persistent)
      : cookie.clear(isSecure, headers);
  const old = cookie.clearOld(isSecure, headers);
  const mayHaveOld = old.length > 0 && (change === 'clear' || new Set(cookie.valuesIn(headers)).size > 1);
  const all = [...(own?.others ?? []), value, ...(mayHaveOld ? old : []), ...alsoClear];
  res.setHeader('Set-Cookie', all.length === 1 ? value : all);
  if (cacheControl === '') {
    res.setHeader('Cache-Control', 'no-cache="Set-Cookie"');
  } else if (isShared) {
    res.setHeader('Cache-Control', makePrivate(cacheControl, cookie));
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
