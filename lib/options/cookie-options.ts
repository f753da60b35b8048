import { isHostName, isSameDomain, isTopLevelDomain } from './cookie-domain.js';
import { isCookiePath } from './cookie-path.js';
import type { SessionOptions } from './session-options.js';
import { show } from './show.js';

const COOKIE_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const HEADER_NAME = COOKIE_NAME;

export const DEFAULT_NAME = 'session_id';

export const isCookieName = (name: unknown): name is string =>
  typeof name === 'string' && COOKIE_NAME.test(name);

/** Browsers know the prefixes in any case. */
export const isPrefixed = (name: unknown, prefix = /^__(host|secure)-/i): boolean =>
  typeof name === 'string' && prefix.test(name);

export const checkCookieName = (name: unknown): string | undefined =>
  isCookieName(name)
    ? undefined
    : `must be a cookie name (letters, digits and !#$%&'*+-.^_\`|~), not ${show(name)}`;

export const checkPath = (path: unknown): string | undefined =>
  isCookiePath(path)
    ? undefined
    : `must start with / and hold no spaces, semicolons or control characters, not ${show(path)}`;

export const checkPathHeader = (header: unknown): string | undefined =>
  typeof header === 'string' && HEADER_NAME.test(header)
    ? undefined
    : `must be the name of a request header, not ${show(header)}`;

export function checkDomain(domain: unknown): string | undefined {
  if (!isHostName(domain)) {
    return `must be a host name such as example.com, not ${show(domain)}`;
  }
  return isTopLevelDomain(domain)
    ? `is ${show(domain)}, but browsers refuse cookies for a whole top-level domain; write e.g. example.com, or ` +
        'remove domain'
    : undefined;
}

const CLEAR_ALSO = `e.g. [{ path: '/shop' }, { domain: 'example.com' }]`;

export function checkClearAlso(places: unknown): string | string[] {
  if (!Array.isArray(places)) {
    return `must be an array, ${CLEAR_ALSO}, not ${show(places)}`;
  }
  return places.flatMap((entry: unknown) => {
    if (!isPlace(entry)) {
      return `holds ${show(entry)}; write the path and the domain that the cookie had, ${CLEAR_ALSO}`;
    }
    const { path = '/', domain } = entry;
    if (!isCookiePath(path)) {
      return `holds the path ${show(path)}, which no cookie can have; write ${CLEAR_ALSO}`;
    }
    return domain === undefined || (isHostName(domain) && !isTopLevelDomain(domain))
      ? []
      : `holds the domain ${show(domain)}, which no cookie can have; write ${CLEAR_ALSO}`;
  });
}

/** @returns what is wrong with the cookie's options together */
export function checkCookieTogether(options: SessionOptions): string[] {
  const { name = DEFAULT_NAME, path, pathHeader, secure, partitioned, sameSite } = options;
  const problems: string[] = [];
  if (path !== undefined && pathHeader !== undefined) {
    problems.push(`path and pathHeader exclude each other; remove one`);
  }
  if (isPrefixed(name) && secure === false) {
    problems.push(`a cookie named ${name} must be Secure; remove secure: false, or the prefix`);
  }
  if (sameSite === 'none' && secure === false) {
    problems.push(`sameSite: 'none' needs a Secure cookie; remove secure: false`);
  }
  if (partitioned === true && secure === false) {
    problems.push(`partitioned needs a Secure cookie; remove secure: false`);
  }
  return [...problems, ...checkHostPrefix(options), ...checkOldPlaces(options)];
}

function checkHostPrefix({ name, path = '/', pathHeader, domain, clearAlso }: SessionOptions): string[] {
  const problems: string[] = [];
  if (isPrefixed(name, /^__host-/i)) {
    if (domain !== undefined) {
      problems.push(
        `a cookie named ${name} cannot have a domain; remove domain, or use the prefix __Secure-`,
      );
    }
    if (path !== '/' || pathHeader !== undefined) {
      problems.push(`a cookie named ${name} must have the path /; remove path and pathHeader`);
    }
    if (Array.isArray(clearAlso) && clearAlso.length > 0) {
      problems.push(`a cookie named ${name} has never had another path or domain; remove clearAlso`);
    }
  }
  return problems;
}

function checkOldPlaces({
  clearAlso,
  path: ownPath = '/',
  pathHeader,
  domain: ownDomain,
}: SessionOptions): string[] {
  // With pathHeader, the path is known only when a request comes.
  if (!Array.isArray(clearAlso) || pathHeader !== undefined) {
    return [];
  }
  return clearAlso
    .filter(isPlace)
    .filter(
      ({ path = '/', domain }) =>
        path === ownPath && isHostNameOrNone(domain) && isSameDomain(domain, asText(ownDomain)),
    )
    .map(
      entry =>
        `clearAlso holds ${show(entry)}, the path and the domain that the cookie has now; remove that entry`,
    );
}

const isPlace = (entry: unknown): entry is { path?: string; domain?: string } =>
  typeof entry === 'object' &&
  entry !== null &&
  !Array.isArray(entry) &&
  Object.keys(entry).every(key => key === 'path' || key === 'domain');

const isHostNameOrNone = (domain: unknown): boolean => domain === undefined || isHostName(domain);

/** What is none is told of elsewhere. */
const asText = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
