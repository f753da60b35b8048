import { Logger } from '@nestjs/common';
import { SessionOptionsException } from './exceptions/session.exception.js';
import { checkSessionOptions, resolveSessionOptions } from './options/resolve-options.js';
import { warnOfShortSecret } from './options/secret-option.js';
import {
  sessionOptions,
  type ResolvedSessionOptions,
  type SessionOptions,
} from './options/session-options.js';
import { checkStorageOptions, STORAGE_OPTION_NAMES, type StorageOptions } from './storage/storage-options.js';

/** The options of `SessionsModule.forRoot()`: those of all sessions, and those of the storage that is chosen. */
export type SessionModuleOptions = SessionOptions & StorageOptions;

/** For `useClass` and `useExisting` of `forRootAsync`. */
export interface SessionOptionsFactory {
  createSessionOptions(): Promise<SessionModuleOptions> | SessionModuleOptions;
}

const NAMES = [...STORAGE_OPTION_NAMES, ...Object.keys(sessionOptions)];
const logger = new Logger('Sessions');

/**
 * Checks the options, fills in the defaults of those that all storages have, and warns of what is allowed but not wise.
 * @throws SessionOptionsException that lists every problem with its remedy
 */
export function resolveModuleOptions(options: SessionModuleOptions = {}): ResolvedSessionOptions {
  if (typeof options !== 'object' || options === null) {
    const given = options === null ? 'null' : `a ${typeof options}`;
    throw new SessionOptionsException([`the options must be an object, not ${given}`]);
  }
  const unknown = Object.keys(options).filter(name => !NAMES.includes(name));
  const problems = [
    ...unknown.map(name => `${name} is not an option; the options are ${NAMES.join(', ')}`),
    ...checkStorageOptions(options as Record<string, unknown>),
    ...checkSessionOptions(options),
  ];
  if (problems.length > 0) {
    throw new SessionOptionsException(problems);
  }
  const resolved = resolveSessionOptions(options);
  warnOfShortSecret(resolved.secret).forEach(warning => logger.warn(warning));
  return resolved;
}
