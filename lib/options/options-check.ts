import { RequestMethod } from '@nestjs/common';
import { pathToRegexp } from 'path-to-regexp';
import { isHostName } from './cookie-domain.js';
import { checkCookieOptions, isCookieName } from './cookie-options.js';
import { isCookiePath } from './cookie-path.js';
import type { SessionModuleOptions } from './session-options.js';
import { show } from './show.js';
import { checkStorageOptions } from './storage-options.js';

const ID_SHAPE = /^[A-Za-z0-9\-_.~]{16,256}$/;
/** Characters: of the 64 of base64, 96 bits. */
const MIN_SECRET = 16;

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
  clearAlso: true,
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
  eager: true,
  requestSession: true,
  migrateFrom: true,
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

/** Collects what is wrong, so that one start shows every problem. */
export class OptionsCheck {
  readonly problems: string[] = [];
  /** What is allowed, but not wise. */
  readonly warnings: string[] = [];

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
    this.oneOf('secure', [true, false, 'auto']);
    this.oneOf('sameSite', ['strict', 'lax', 'none', false]);
    this.oneOf('priority', ['low', 'medium', 'high']);
    this.problems.push(...checkCookieOptions(this.options));
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
    // The values are not shown: one of them may be right.
    const { secret } = this.options;
    if (secret !== undefined && !isSecret(secret)) {
      this.problems.push(
        `secret must be a non-empty string, or a non-empty array of them; is an environment variable unset?`,
      );
    } else if ([secret ?? []].flat().some(one => one.length < MIN_SECRET)) {
      this.warnings.push(
        `The option secret holds one of fewer than ${MIN_SECRET} characters: whoever has a cookie can find it by ` +
          `trying, and sign cookies. Make one with: openssl rand -base64 32`,
      );
    }
  }

  migration(): void {
    if (this.options.migrateFrom === undefined) {
      return;
    }
    const { store, secret, name, path, domain } = this.options.migrateFrom ?? {};
    const needs: string[] = [];
    if (typeof store?.get !== 'function' || typeof store.destroy !== 'function') {
      needs.push(`store: the store of express-session, e.g. new RedisStore({ client })`);
    }
    if (!isSecret(secret)) {
      needs.push(`secret: that of express-session, a non-empty string or a non-empty array of them`);
    }
    if (name !== undefined && !isCookieName(name)) {
      needs.push(`name: the name of express-session's cookie, not ${show(name)}`);
    }
    if ((name ?? 'connect.sid') === (this.options.name ?? 'session_id')) {
      needs.push(`name: another than the option name of this package`);
    }
    if (path !== undefined && !isCookiePath(path)) {
      needs.push(`path: the path of express-session's cookie, not ${show(path)}`);
    }
    if (domain !== undefined && !isHostName(domain)) {
      needs.push(`domain: the domain of express-session's cookie, not ${show(domain)}`);
    }
    if (needs.length > 0) {
      this.problems.push(`migrateFrom needs ${needs.join('; and ')}`);
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

function isSecret(secret: unknown): boolean {
  const secrets = [secret].flat();
  return secrets.length > 0 && secrets.every(one => typeof one === 'string' && one !== '');
}

function isRoutePath(path: unknown): boolean {
  try {
    return typeof path === 'string' && pathToRegexp(path).regexp !== undefined;
  } catch {
    return false;
  }
}
