import { SessionOptionsException } from '../../exceptions/session.exception.js';
import type { ExpressStore, ExpressStoredSession } from '../../options/express-store.js';

/** Milliseconds after which a call counts as lost: the next one for the session waits for it. */
const LOST_MS = 30_000;

/** An express-session store with promises for callbacks. */
export class ExpressStoreClient {
  private isConnected = true;

  constructor(private readonly store: ExpressStore) {
    const missing = (['get', 'set', 'destroy'] as const).filter(
      method => typeof (store as ExpressStore | undefined)?.[method] !== 'function',
    );
    if (missing.length > 0) {
      throw new SessionOptionsException([
        `expressStore() got a store without ${missing.join(', ')}; pass an instance, e.g. expressStore(new RedisStore({ client }))`,
      ]);
    }
    store.on?.('disconnect', () => {
      this.isConnected = false;
    });
    store.on?.('connect', () => {
      this.isConnected = true;
    });
  }

  /** Whether it can move a session's expiry without writing the session. */
  get canTouch(): boolean {
    return typeof this.store.touch === 'function';
  }

  async get(sid: string): Promise<ExpressStoredSession | undefined> {
    try {
      const session = await this.call<ExpressStoredSession | null>(done => this.store.get(sid, done));
      return session?.cookie ? session : undefined;
    } catch (error) {
      if ((error as { code?: unknown } | null)?.code === 'ENOENT') {
        return undefined; // how stores on files say that there is none
      }
      throw error;
    }
  }

  async set(sid: string, session: ExpressStoredSession): Promise<void> {
    await this.call(done => this.store.set(sid, session, done));
  }

  async touch(sid: string, session: ExpressStoredSession): Promise<void> {
    await this.call(done => this.store.touch!(sid, session, done));
  }

  async destroy(sid: string): Promise<void> {
    await this.call(done => this.store.destroy(sid, done));
  }

  private call<T>(start: (done: (error?: any, result?: T) => void) => unknown): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      if (!this.isConnected) {
        throw new Error('the store is disconnected');
      }
      const timer = setTimeout(() => reject(new Error('the store has not called back')), LOST_MS).unref();
      const started = start((error, result) => {
        clearTimeout(timer);
        return error ? reject(error) : resolve(result);
      });
      // Some return a promise, too, which fails when nobody is listening.
      if (started instanceof Promise) {
        started.catch(reject);
      }
    });
  }
}
