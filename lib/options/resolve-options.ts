import { checkCookieTogether, DEFAULT_NAME, isPrefixed } from './cookie-options.js';
import { checkEach, resolveEach } from './option.js';
import { sessionOptions, type ResolvedSessionOptions, type SessionOptions } from './session-options.js';

/** @returns what is wrong with the options that all storages have in common */
export function checkSessionOptions(options: SessionOptions): string[] {
  const together = [...checkCookieTogether(options), ...checkFormerName(options)];
  return [...checkEach(sessionOptions, options), ...together];
}

/** @param options that are right */
export function resolveSessionOptions(options: SessionOptions = {}): ResolvedSessionOptions {
  const resolved = resolveEach(sessionOptions, options);
  // A browser drops a prefixed cookie that is not Secure, so 'auto' has no say there.
  return isPrefixed(resolved.name) ? { ...resolved, secure: true } : resolved;
}

function checkFormerName({ name = DEFAULT_NAME, migrateFrom }: SessionOptions): string[] {
  return migrateFrom && (migrateFrom.name ?? 'connect.sid') === name
    ? [`migrateFrom needs name: another than the option name of this package`]
    : [];
}
