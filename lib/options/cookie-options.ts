import { isHostName, isSameDomain, isTopLevelDomain } from './cookie-domain.js';
import { isCookiePath } from './cookie-path.js';
import type { SessionModuleOptions } from './session-options.js';
import { show } from './show.js';

type Options = SessionModuleOptions;

const COOKIE_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const HEADER_NAME = COOKIE_NAME;

export const isCookieName = (name: unknown): name is string =>
  typeof name === 'string' && COOKIE_NAME.test(name);

/** Browsers know the prefixes in any case. */
export const isPrefixed = (name: unknown, prefix = /^__(host|secure)-/i): boolean =>
  typeof name === 'string' && prefix.test(name);

/** @returns what is wrong with the cookie's name, place and attributes, each or together */
export function checkCookieOptions(options: Options): string[] {
  const { name = 'session_id', path, pathHeader, domain, secure, partitioned, sameSite } = options;
  const problems: string[] = [];
  if (!isCookieName(name)) {
    problems.push(`name must be a cookie name (letters, digits and !#$%&'*+-.^_\`|~), not ${show(name)}`);
  }
  if (path !== undefined && !isCookiePath(path)) {
    problems.push(
      `path must start with / and hold no spaces, semicolons or control characters, not ${show(path)}`,
    );
  }
  if (pathHeader !== undefined && (typeof pathHeader !== 'string' || !HEADER_NAME.test(pathHeader))) {
    problems.push(`pathHeader must be the name of a request header, not ${show(pathHeader)}`);
  }
  if (path !== undefined && pathHeader !== undefined) {
    problems.push(`path and pathHeader exclude each other; remove one`);
  }
  if (domain !== undefined && !isHostName(domain)) {
    problems.push(`domain must be a host name such as example.com, not ${show(domain)}`);
  } else if (domain !== undefined && isTopLevelDomain(domain)) {
    problems.push(
      `domain is ${show(domain)}, but browsers refuse cookies for a whole top-level domain; ` +
        `write e.g. example.com, or remove domain`,
    );
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
  return [...problems, ...checkHostPrefix(options), ...checkClearAlso(options)];
}

function checkHostPrefix({ name, path = '/', pathHeader, domain, clearAlso }: Options): string[] {
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

function checkClearAlso({
  clearAlso,
  path: ownPath = '/',
  pathHeader,
  domain: ownDomain,
}: Options): string[] {
  const example = `e.g. [{ path: '/shop' }, { domain: 'example.com' }]`;
  if (clearAlso === undefined) {
    return [];
  }
  if (!Array.isArray(clearAlso)) {
    return [`clearAlso must be an array, ${example}, not ${show(clearAlso)}`];
  }
  return clearAlso.flatMap((entry: unknown) => {
    if (!isPlace(entry)) {
      return `clearAlso holds ${show(entry)}; write the path and the domain that the cookie had, ${example}`;
    }
    const { path = '/', domain } = entry;
    if (!isCookiePath(path)) {
      return `clearAlso holds the path ${show(path)}, which no cookie can have; write ${example}`;
    }
    if (domain !== undefined && (!isHostName(domain) || isTopLevelDomain(domain))) {
      return `clearAlso holds the domain ${show(domain)}, which no cookie can have; write ${example}`;
    }
    // With pathHeader, the path is known only when a request comes.
    if (pathHeader === undefined && path === ownPath && isSameDomain(domain, asText(ownDomain))) {
      return `clearAlso holds ${show(entry)}, the path and the domain that the cookie has now; remove that entry`;
    }
    return [];
  });
}

const isPlace = (entry: unknown): entry is { path?: string; domain?: string } =>
  typeof entry === 'object' &&
  entry !== null &&
  !Array.isArray(entry) &&
  Object.keys(entry).every(key => key === 'path' || key === 'domain');

/** What is none is told of elsewhere. */
const asText = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
