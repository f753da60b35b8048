import { Logger } from '@nestjs/common';
import { randomBytes } from 'node:crypto';
import { SessionOptionsException } from '../exceptions/session.exception.js';
import { isPrefixed } from './cookie-options.js';
import { jsonPlusSerializer } from './json-plus.serializer.js';
import { OptionsCheck } from './options-check.js';
import type { ResolvedSessionOptions, SessionModuleOptions } from './session-options.js';

const logger = new Logger('Sessions');

const MINUTE = 60_000;
/** The longest delay that a Node.js timer takes, in milliseconds. */
const MAX_TIMER = 2 ** 31 - 1;

/** 256 random bits, base64url: 43 characters. */
const generateSessionId = (): string => randomBytes(32).toString('base64url');

/**
 * Checks the options, fills in the defaults, and warns of what is allowed but not wise.
 * @throws SessionOptionsException that lists every problem with its remedy
 */
export function resolveSessionOptions(options: SessionModuleOptions = {}): ResolvedSessionOptions {
  if (typeof options !== 'object' || options === null) {
    const given = options === null ? 'null' : `a ${typeof options}`;
    throw new SessionOptionsException([`the options must be an object, not ${given}`]);
  }
  const check = new OptionsCheck(options);
  check.unknown();
  check.storage();
  check.cookie();
  check.number('timeout', { above: 0, unit: 'minutes' });
  check.number('lifetime', { above: 0, unit: 'minutes' });
  check.number('cleanFreq', { min: 0, max: MAX_TIMER / MINUTE, unit: 'minutes, 0 for none' });
  check.number('lockTimeout', { min: 0, max: MAX_TIMER / 1000, unit: 'seconds' });
  check.number('leaseTime', { min: 0.1, max: MAX_TIMER / 1000, unit: 'seconds' });
  check.number('touchAfter', { min: 0, unit: 'seconds' });
  check.number('maxSize', { above: 0, integer: true, unit: 'bytes' });
  check.number('storageTimeout', { above: 0, max: MAX_TIMER / 1000, unit: 'seconds' });
  check.number('maxSessions', { above: 0, integer: true, unit: 'sessions' });
  check.oneOf('locking', ['implicit', 'early', 'explicit']);
  check.boolean(
    'createTable',
    'persistent',
    'httpOnly',
    'partitioned',
    'saveUninitialized',
    'eager',
    'requestSession',
    'debug',
  );
  check.exclude();
  check.secret();
  check.migration();
  check.replaceable();
  if (check.problems.length > 0) {
    throw new SessionOptionsException(check.problems);
  }
  check.warnings.forEach(warning => logger.warn(warning));

  return {
    storageType: options.storageType ?? 'ram',
    storagePath: options.storagePath,
    maxSessions: options.maxSessions ?? 1_000_000,
    url: options.url,
    connection: options.connection,
    dataSource: options.dataSource,
    tableName: options.tableName,
    schema: options.schema,
    createTable: options.createTable ?? true,
    servers: [options.servers ?? []].flat().join(','),
    username: options.username,
    password: options.password,
    keyPrefix: options.keyPrefix,
    storageTimeoutMs: (options.storageTimeout ?? 5) * 1000,
    name: options.name ?? 'session_id',
    path: options.path ?? '/',
    pathHeader: options.path === undefined ? options.pathHeader?.toLowerCase() : undefined,
    domain: options.domain,
    clearAlso: (options.clearAlso ?? []).map(({ path = '/', domain }) => ({ path, domain })),
    timeout: options.timeout ?? 60,
    lifetimeMs: (options.lifetime ?? Infinity) * MINUTE,
    persistent: options.persistent ?? true,
    // A browser drops a prefixed cookie that is not Secure, so 'auto' has no say there.
    secure: isPrefixed(options.name) ? true : (options.secure ?? 'auto'),
    httpOnly: options.httpOnly ?? true,
    sameSite: options.sameSite ?? 'lax',
    partitioned: options.partitioned ?? false,
    priority: options.priority,
    secrets: options.secret === undefined ? [] : [options.secret].flat(),
    cleanFreqMs: (options.cleanFreq ?? 5) * MINUTE,
    locking: options.locking ?? 'implicit',
    eager: options.eager ?? false,
    requestSession: options.requestSession ?? true,
    migrateFrom: options.migrateFrom,
    lockTimeoutMs: (options.lockTimeout ?? 30) * 1000,
    leaseMs: (options.leaseTime ?? 30) * 1000,
    saveUninitialized: options.saveUninitialized ?? false,
    touchAfterMs: (options.touchAfter ?? 0) * 1000,
    exclude: options.exclude ?? [],
    maxSize: options.maxSize ?? 1024 * 1024,
    generateId: options.generateId ?? generateSessionId,
    customId: options.generateId !== undefined,
    serializer: options.serializer ?? jsonPlusSerializer,
    debug: options.debug ?? false,
  };
}
