import { isHostName } from './cookie-domain.js';
import { isCookieName } from './cookie-options.js';
import { isCookiePath } from './cookie-path.js';
import type { ExpressStore } from './express-store.js';
import { isSecret } from './secret-option.js';
import { show } from './show.js';

/** Where express-session kept its sessions, as it was set up. */
export interface ExpressMigrationOptions {
  store: ExpressStore;
  /** Its `secret`: one, or several. */
  secret: string | string[];
  /** Its `name`. Default `'connect.sid'`. */
  name?: string;
  /** Its `cookie.path`. Default `'/'`. */
  path?: string;
  /** Its `cookie.domain`. */
  domain?: string;
}

export function checkMigration(options: unknown): string | undefined {
  const { store, secret, name, path, domain } = (options ?? {}) as Partial<ExpressMigrationOptions>;
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
  if (path !== undefined && !isCookiePath(path)) {
    needs.push(`path: the path of express-session's cookie, not ${show(path)}`);
  }
  if (domain !== undefined && !isHostName(domain)) {
    needs.push(`domain: the domain of express-session's cookie, not ${show(domain)}`);
  }
  return needs.length > 0 ? `needs ${needs.join('; and ')}` : undefined;
}
