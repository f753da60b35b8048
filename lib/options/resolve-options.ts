import { RequestMethod } from '@nestjs/common';
import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { pathToRegexp } from 'path-to-regexp';
import { SessionOptionsException } from '../exceptions/session.exception.js';
import { isCookiePath } from './cookie-path.js';
import { jsonPlusSerializer } from './json-plus.serializer.js';
import type { ResolvedSessionOptions, SessionModuleOptions } from './session-options.js';
import { checkStorageOptions } from './storage-options.js';

const MINUTE = 60_000;
/** The longest delay that a Node.js timer takes, in milliseconds. */
const MAX_TIMER = 2 ** 31 - 1;
const COOKIE_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const DOMAIN = /^\.?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i;
const HEADER_NAME = COOKIE_NAME;
const ID_SHAPE = /^[A-Za-z0-9\-_.~]{16,256}$/;

const KNOWN: Record<keyof SessionModuleOptions, true> = {
  storageType: true,
  storagePath: true,
  maxSessions: true,
  url: true,
  connection: true,
  dataSource: true,
  tableName: true,
  schema: true,
  createTable: true,
  servers: true,
  username: true,
  password: true,
  keyPrefix: true,
  storageTimeout: true,
  name: true,
  path: true,
  pathHeader: true,
  domain: true,
  timeout: true,
  lifetime: true,
  persistent: true,
  secure: true,
  httpOnly: true,
  sameSite: true,
  partitioned: true,
  priority: true,
  secret: true,
  cleanFreq: true,
  locking: true,
  lockTimeout: true,
  leaseTime: true,
  saveUninitialized: true,
  touchAfter: true,
  exclude: true,
  maxSize: true,
  generateId: true,
  serializer: true,
  debug: true,
};

/** 256 random bits, base64url: 43 characters. */
const generateSessionId = (): string => randomBytes(32).toString('base64url');

/**
 * Checks the options and fills in the defaults.
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
  check.boolean('createTable', 'persistent', 'httpOnly', 'partitioned', 'saveUninitialized', 'debug');
  check.exclude();
  check.secret();
  check.replaceable();
  if (check.problems.length > 0) {
    throw new SessionOptionsException(check.problems);
  }

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

/** Browsers know the prefixes in any case. */
const isPrefixed = (name: unknown, prefix = /^__(host|secure)-/i): boolean =>
  typeof name === 'string' && prefix.test(name);

/** Collects what is wrong, so that one start shows every problem. */
class OptionsCheck {
  readonly problems: string[] = [];

  constructor(private readonly options: SessionModuleOptions) {}

  unknown(): void {
    for (const name of Object.keys(this.options)) {
      if (!Object.hasOwn(KNOWN, name)) {
        this.problems.push(`${name} is not an option; the options are ${Object.keys(KNOWN).join(', ')}`);
      }
    }
  }

  storage(): void {
    const { storageType = 'ram' } = this.options;
    if (typeof storageType === 'string') {
      this.oneOf('storageType', ['ram', 'file', 'postgresql', 'memcached']);
    } else if (typeof storageType !== 'function' && typeof storageType?.lock !== 'function') {
      this.problems.push(
        `storageType must be 'ram', 'file', 'postgresql', 'memcached', or a class or an instance that implements SessionBackend`,
      );
    }
    this.problems.push(...checkStorageOptions(this.options));
  }

  cookie(): void {
    const { name = 'session_id', path, pathHeader, domain, secure, partitioned, sameSite } = this.options;
    this.oneOf('secure', [true, false, 'auto']);
    this.oneOf('sameSite', ['strict', 'lax', 'none', false]);
    this.oneOf('priority', ['low', 'medium', 'high']);
    if (typeof name !== 'string' || !COOKIE_NAME.test(name)) {
      this.problems.push(
        `name must be a cookie name (letters, digits and !#$%&'*+-.^_\`|~), not ${show(name)}`,
      );
    }
    if (path !== undefined && !isCookiePath(path)) {
      this.problems.push(
        `path must start with / and hold no spaces, semicolons or control characters, not ${show(path)}`,
      );
    }
    if (pathHeader !== undefined && (typeof pathHeader !== 'string' || !HEADER_NAME.test(pathHeader))) {
      this.problems.push(`pathHeader must be the name of a request header, not ${show(pathHeader)}`);
    }
    if (path !== undefined && pathHeader !== undefined) {
      this.problems.push(`path and pathHeader exclude each other; remove one`);
    }
    if (domain !== undefined && (typeof domain !== 'string' || !DOMAIN.test(domain))) {
      this.problems.push(`domain must be a host name such as example.com, not ${show(domain)}`);
    }
    if (isPrefixed(name) && secure === false) {
      this.problems.push(`a cookie named ${name} must be Secure; remove secure: false, or the prefix`);
    }
    if (isPrefixed(name, /^__host-/i)) {
      if (domain !== undefined) {
        this.problems.push(
          `a cookie named ${name} cannot have a domain; remove domain, or use the prefix __Secure-`,
        );
      }
      if ((path ?? '/') !== '/' || pathHeader !== undefined) {
        this.problems.push(`a cookie named ${name} must have the path /; remove path and pathHeader`);
      }
    }
    if (sameSite === 'none' && secure === false) {
      this.problems.push(`sameSite: 'none' needs a Secure cookie; remove secure: false`);
    }
    if (partitioned === true && secure === false) {
      this.problems.push(`partitioned needs a Secure cookie; remove secure: false`);
    }
  }

  number(
    name: keyof SessionModuleOptions,
    rule: { above?: number; min?: number; max?: number; integer?: boolean; unit: string },
  ): void {
    const value = this.options[name];
    if (value === undefined) {
      return;
    }
    const fits =
      typeof value === 'number' &&
      Number.isFinite(value) &&
      (rule.above === undefined || value > rule.above) &&
      (rule.min === undefined || value >= rule.min) &&
      (rule.max === undefined || value <= rule.max) &&
      (!rule.integer || Number.isInteger(value));
    if (!fits) {
      const range = [
        rule.above === undefined ? '' : ` above ${rule.above}`,
        rule.min === undefined ? '' : ` of at least ${rule.min}`,
        rule.max === undefined ? '' : ` and at most ${Math.floor(rule.max)}`,
      ].join('');
      this.problems.push(
        `${name} must be a ${rule.integer ? 'whole ' : ''}number${range} (${rule.unit}), not ${show(value)}`,
      );
    }
  }

  oneOf(name: keyof SessionModuleOptions, allowed: readonly unknown[]): void {
    const value = this.options[name];
    if (value !== undefined && !allowed.includes(value)) {
      this.problems.push(`${name} must be one of ${allowed.map(show).join(', ')}, not ${show(value)}`);
    }
  }

  boolean(...names: (keyof SessionModuleOptions)[]): void {
    for (const name of names) {
      this.oneOf(name, [true, false]);
    }
  }

  exclude(): void {
    const { exclude } = this.options;
    if (exclude === undefined) {
      return;
    }
    if (!Array.isArray(exclude)) {
      this.problems.push(
        `exclude must be an array of paths, e.g. ['health', 'assets/*path'], not ${show(exclude)}`,
      );
      return;
    }
    for (const entry of exclude) {
      const { path, method } = typeof entry === 'string' ? { path: entry } : (entry ?? {});
      if (!isRoutePath(path)) {
        this.problems.push(
          `exclude holds ${show(entry)}, which is no path; write e.g. 'health', 'users/:id' or 'assets/*path'`,
        );
      }
      if (method !== undefined && typeof RequestMethod[method] !== 'string') {
        this.problems.push(
          `exclude holds the method ${show(method)}; write e.g. { path: 'health', method: RequestMethod.GET }`,
        );
      }
    }
  }

  secret(): void {
    const { secret } = this.options;
    if (secret === undefined) {
      return;
    }
    const secrets = [secret].flat();
    if (secrets.length === 0 || secrets.some(one => typeof one !== 'string' || one === '')) {
      // The values are not shown: one of them may be right.
      this.problems.push(
        `secret must be a non-empty string, or a non-empty array of them; is an environment variable unset?`,
      );
    }
  }

  replaceable(): void {
    const { generateId, serializer } = this.options;
    if (generateId !== undefined) {
      this.generateId(generateId);
    }
    if (
      serializer !== undefined &&
      (typeof serializer?.stringify !== 'function' || typeof serializer?.parse !== 'function')
    ) {
      this.problems.push(`serializer must have the functions stringify(data) and parse(text)`);
    }
  }

  private generateId(generateId: unknown): void {
    if (typeof generateId !== 'function') {
      this.problems.push(`generateId must be a function that returns a string, not ${show(generateId)}`);
      return;
    }
    let ids: unknown[];
    try {
      ids = [generateId(), generateId()];
    } catch (error) {
      this.problems.push(`generateId threw ${show(error)}; it must return a string`);
      return;
    }
    if (ids.some(id => typeof id !== 'string' || !ID_SHAPE.test(id))) {
      this.problems.push(`generateId must return 16 to 256 characters of A-Z a-z 0-9 - _ . ~`);
    } else if (ids[0] === ids[1]) {
      this.problems.push(
        `generateId returned the same id twice; ids must be random, e.g. from crypto.randomBytes(32)`,
      );
    }
  }
}

function isRoutePath(path: unknown): boolean {
  try {
    return typeof path === 'string' && pathToRegexp(path).regexp !== undefined;
  } catch {
    return false;
  }
}

/** On one line, and also what JSON cannot show. */
const show = (value: unknown): string =>
  value instanceof Error ? String(value) : inspect(value, { depth: 1, breakLength: Infinity });
