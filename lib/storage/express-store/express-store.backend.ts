import { checkRecordFormat, RECORD_FORMAT } from '../record-format.js';
import type {
  Lease,
  SessionBackend,
  SessionRecord,
  SessionSettings,
  SessionWrite,
} from '../session-backend.js';
import { KeyedMutex } from '../keyed-mutex.js';
import type { ExpressStore, ExpressStoredSession } from '../../options/express-store.js';
import { ExpressStoreClient } from './express-store-client.js';

/** Where a stored session keeps what is not the cookie's. */
const RECORD = 'nestSession';

/** What is kept beside the cookie, by which express-session's stores know when a session expires. */
interface KeptRecord extends Omit<SessionRecord, 'expiresAt' | 'lastUsedAt'> {
  /** What was stored before it was kept has none. */
  format?: number;
}

interface Lock {
  token: string;
  /** When it lapses, milliseconds since 1970. */
  until: number;
}

/**
 * A storage made of a store that was written for express-session: `storageType: expressStore(new RedisStore(…))`.
 * Sessions are kept under their keys, apart from those that express-session has put there. The application closes
 * the store.
 *
 * Such a store has no locks and no compare-and-set. Within one process everything holds that this package promises.
 * With several processes on one store, it cannot: changes that two of them make to one session at a time may be lost,
 * and a save under way in one process may bring back what another destroys. Nor can it count or find an owner's sessions.
 */
export function expressStore(store: ExpressStore): SessionBackend {
  return new ExpressStoreBackend(new ExpressStoreClient(store));
}

class ExpressStoreBackend implements SessionBackend {
  /** As far as it can lock: there is nothing to leave to other processes. */
  readonly inProcess = true;

  private readonly locks = new Map<string, Lock>();
  /** By key: between a look and a write, no other call gets in. */
  private readonly mutex = new KeyedMutex();

  constructor(private readonly store: ExpressStoreClient) {}

  read(key: string): Promise<SessionRecord | undefined> {
    return this.mutex.runExclusive(key, () => this.find(key));
  }

  lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
    return this.mutex.runExclusive(key, async () => {
      const record = await this.find(key);
      const lock = this.locks.get(key);
      if (record && lock && lock.token !== lease.token && lock.until > Date.now()) {
        return 'busy';
      }
      if (record) {
        this.take(key, lease);
      }
      return record;
    });
  }

  renew(key: string, lease: Lease): Promise<boolean> {
    return this.mutex.runExclusive(key, async () => {
      const renewed =
        this.holds(key, lease) && (await this.find(key)) !== undefined && this.holds(key, lease);
      if (renewed) {
        this.take(key, lease);
      }
      return renewed;
    });
  }

  unlock(key: string, lease: Lease, ttl?: number): Promise<void> {
    return this.mutex.runExclusive(key, async () => {
      if (this.holds(key, lease)) {
        try {
          if (ttl !== undefined) {
            await this.moveExpiry(key, ttl);
          }
        } finally {
          this.locks.delete(key);
        }
      }
    });
  }

  touch(key: string, ttl: number): Promise<boolean> {
    return this.mutex.runExclusive(key, () => this.moveExpiry(key, ttl));
  }

  create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
    return this.mutex.runExclusive(key, async () => {
      // express-session never asks a store for a new id: some stores throw at one that they do not know.
      if (!write.isFreshKey && (await this.find(key))) {
        return false;
      }
      this.locks.delete(key);
      await this.put(key, toKept(write, write.createdAt ?? Date.now()), write.ttl);
      if (lease) {
        this.take(key, lease);
      }
      return true;
    });
  }

  save(key: string, write: SessionWrite, lease: Lease, { unlock }: { unlock: boolean }): Promise<boolean> {
    return this.mutex.runExclusive(key, async () => {
      const record = this.holds(key, lease) ? await this.find(key) : undefined;
      if (!record || !this.holds(key, lease)) {
        return false;
      }
      await this.put(key, toKept(write, record.createdAt), write.ttl);
      if (unlock) {
        this.locks.delete(key);
      } else {
        this.take(key, lease);
      }
      return true;
    });
  }

  delete(key: string, lease?: Lease): Promise<boolean> {
    return this.mutex.runExclusive(key, async () => {
      const isMeant = !lease || this.holds(key, lease);
      const found = isMeant && (await this.findKept(key)) !== undefined;
      if (found) {
        await this.store.destroy(key);
        this.locks.delete(key);
      }
      return found;
    });
  }

  /** The store does that. Locks of sessions that have expired in it are forgotten. */
  async cleanUp(): Promise<number> {
    const now = Date.now();
    for (const [key, { until }] of this.locks) {
      if (until <= now) {
        this.locks.delete(key);
      }
    }
    return 0;
  }

  async close(): Promise<void> {
    this.locks.clear();
  }

  private take(key: string, { token, ms }: Lease): void {
    this.locks.set(key, { token, until: Date.now() + ms });
  }

  private holds(key: string, lease: Lease): boolean {
    return this.locks.get(key)?.token === lease.token;
  }

  private async find(key: string): Promise<SessionRecord | undefined> {
    const kept = await this.findKept(key);
    if (!kept) {
      return undefined;
    }
    const { format, ...record } = kept;
    checkRecordFormat(key, format);
    return record;
  }

  /** In whatever format. */
  private async findKept(key: string): Promise<(SessionRecord & Pick<KeptRecord, 'format'>) | undefined> {
    const session = await this.store.get(key);
    const kept = session?.[RECORD];
    if (!isRecord(kept)) {
      return undefined;
    }
    const { expires, originalMaxAge } = session!.cookie;
    const expiresAt = new Date(expires || 0).getTime();
    // One that was touched may still be there with its old date: what the store gives has not expired.
    const isAlive = this.store.canTouch || expiresAt > Date.now();
    return isAlive ? { ...kept, expiresAt, lastUsedAt: expiresAt - (originalMaxAge ?? 0) } : undefined;
  }

  private async moveExpiry(key: string, ttl: number): Promise<boolean> {
    const record = await this.find(key);
    if (!record) {
      return false;
    }
    const kept = toKept(record, record.createdAt);
    await (this.store.canTouch ? this.store.touch(key, toStored(kept, ttl)) : this.put(key, kept, ttl));
    return true;
  }

  private put(key: string, record: KeptRecord, ttl: number): Promise<void> {
    return this.store.set(key, toStored(record, ttl));
  }
}

const toKept = (
  { data, owner, timeout, persistent }: SessionSettings & { data: string },
  createdAt: number,
): KeptRecord => ({ data, owner, timeout, persistent, createdAt, format: RECORD_FORMAT });

/** Some stores look at `expires`, some at `maxAge` and some at `originalMaxAge`. */
function toStored(record: KeptRecord, ttl: number): ExpressStoredSession {
  const expires = new Date(Date.now() + ttl);
  return {
    cookie: { originalMaxAge: ttl, maxAge: ttl, expires, httpOnly: true, path: '/' },
    [RECORD]: record,
  };
}

function isRecord(value: unknown): value is KeptRecord {
  const { data, owner, timeout, persistent, createdAt } = (value ?? {}) as Record<string, unknown>;
  return (
    typeof data === 'string' &&
    typeof createdAt === 'number' &&
    ['string', 'undefined'].includes(typeof owner) &&
    ['number', 'undefined'].includes(typeof timeout) &&
    ['boolean', 'undefined'].includes(typeof persistent)
  );
}
