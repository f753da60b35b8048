import { randomBytes } from 'node:crypto';
import type { Session, SessionBackend, SessionOptions } from 'nest-sessions';
import { jsonPlusSerializer } from 'nest-sessions';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';
import { OpenSession } from '../../lib/session/open-session.js';
import { sessionKey } from '../../lib/session/session-id.js';
import { SessionRuntime } from '../../lib/session/session-runtime.js';
import { troubled, type TroubledBackend } from './troubled-backend.js';
import { until } from './until.js';

type Data = Record<string, unknown>;

const HOUR = 3_600_000;

/** Sessions in use on a storage, without HTTP: as a request has them. */
export class OpenSessions {
  readonly backend: TroubledBackend;
  readonly runtime: SessionRuntime;

  constructor(storage: SessionBackend, options: SessionOptions = {}) {
    this.backend = troubled(storage);
    this.runtime = new SessionRuntime(resolveSessionOptions(options), { backend: this.backend });
  }

  /** Stores a session. @returns its id */
  async seed(data: Data): Promise<string> {
    const id = newId();
    await this.backend.create(sessionKey(id), { data: jsonPlusSerializer.stringify(data), ttl: HOUR });
    return id;
  }

  /** A session in use, not asked for yet. @param id that the client sent */
  open(id?: string): OpenSession {
    return new OpenSession(this.runtime, id === undefined ? undefined : { id, key: sessionKey(id) });
  }

  /** The session of that id as it is stored. */
  async stored(id: string): Promise<Data | undefined> {
    return this.storedAt(sessionKey(id));
  }

  /** The ids' keys that have a record, of all that this object ever stored. */
  async keys(): Promise<string[]> {
    const found = await Promise.all(
      Array.from(this.backend.created, async key => ((await this.backend.read(key)) ? [key] : [])),
    );
    return found.flat();
  }

  async storedAt(key: string): Promise<Data | undefined> {
    const record = await this.backend.read(key);
    return record && jsonPlusSerializer.parse(record.data);
  }

  /** Whether somebody has the lock of the record, if there is one. Asked of the storage itself. */
  async isLocked(key: string): Promise<boolean> {
    const lease = { token: randomBytes(16).toString('base64url'), ms: HOUR };
    if ((await this.backend.lock(key, lease)) === 'busy') {
      return true;
    }
    await this.backend.unlock(key, lease);
    return false;
  }

  /** Waits until no lock is left: neither in this process nor in the storage. @throws if one stays */
  async allFree(): Promise<void> {
    await until(() => this.runtime.locks.size === 0, 5000);
    for (const key of this.backend.created) {
      await until(async () => !(await this.isLocked(key)), 5000);
    }
  }
}

export const newId = (): string => randomBytes(32).toString('base64url');

/** The untyped dictionary. */
export const dictOf = (open: OpenSession): Session & { data: Data } =>
  open.session as unknown as Session & { data: Data };
