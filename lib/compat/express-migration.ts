import { parseCookie, stringifySetCookie } from 'cookie';
import cookieParser from 'cookie-parser';
import { createHmac } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExpressMigrationOptions } from '../options/migration-options.js';
import { assertSize, readableSize } from '../options/size-limit.js';
import type { FormerSessions } from '../http/request-context.js';
import type { SentId } from '../session/session-identity.js';
import { sessionKey } from '../session/session-id.js';
import type { SessionRuntime } from '../session/session-runtime.js';
import { ExpressStoreClient } from '../storage/express-store/express-store-client.js';
import type { ExpressStoredSession } from '../options/express-store.js';

/**
 * Sessions that express-session began move here when they are next used, so that a change of package logs nobody out.
 *
 * The new id follows from the old one, and from the secret: of requests that come with the old cookie at a time, one
 * moves the session, and all find it. What is moved is removed from the old store, so that it can be ended here.
 */
export class ExpressMigration implements FormerSessions {
  private readonly store: ExpressStoreClient;
  private readonly secrets: string[];
  private readonly name: string;

  constructor(
    private readonly runtime: SessionRuntime,
    private readonly options: ExpressMigrationOptions,
  ) {
    this.store = new ExpressStoreClient(options.store);
    this.secrets = [options.secret].flat();
    this.name = options.name ?? 'connect.sid';
  }

  find({ cookie = '' }: IncomingHttpHeaders): (() => Promise<SentId>) | undefined {
    const value = cookie.includes(this.name) ? parseCookie(cookie)[this.name] : undefined;
    const sid = value?.startsWith('s:') && cookieParser.signedCookie(value, this.secrets);
    if (!sid) {
      return undefined;
    }
    const id = createHmac('sha256', this.secrets.at(-1)!).update(`nest-sessions:${sid}`).digest('base64url');
    const key = sessionKey(id);
    return async () => {
      await this.move(sid, key);
      return { id, key };
    };
  }

  /** The `Set-Cookie` that makes the client forget the old id. */
  clearCookie(): string {
    const { path = '/', domain } = this.options;
    return stringifySetCookie({ name: this.name, value: '', path, domain, maxAge: 0, expires: new Date(0) });
  }

  private async move(sid: string, key: string): Promise<void> {
    const { backend } = this.runtime;
    const look = () => backend.guard('migrate', key, () => this.store.get(sid));
    const former = await look();
    if (!former) {
      return; // it has ended, or moved
    }
    if (await backend.create(key, this.toWrite(former))) {
      // Whoever moved it meanwhile made the record first, and may have ended it since: then it is not to come back.
      if (!(await look())) {
        await backend.delete(key);
        return;
      }
    } else {
      // It is left to the one that made the record to remove the old session. Removed by another before its maker's
      // second look, the record would be taken back; left for good, where its maker died, it could revive after a log-out.
      for (let tries = 0; tries < 100; tries++) {
        if (!(await look())) {
          return;
        }
        await sleep(10);
      }
    }
    await backend.guard('migrate', key, () => this.store.destroy(sid));
  }

  private toWrite({ cookie: { originalMaxAge }, ...data }: ExpressStoredSession) {
    const { serializer, maxSize, persistent, timeout: defaultTimeout } = this.runtime.options;
    // To the second: express-session may note a millisecond less than it was told, as a clock goes on meanwhile.
    const minutes = typeof originalMaxAge === 'number' ? Math.ceil(originalMaxAge / 1000) / 60 : 0;
    const timeout = minutes > 0 && minutes !== defaultTimeout ? minutes : undefined;
    const isPersistent = typeof originalMaxAge === 'number';
    const write = {
      data: serializer.stringify(data),
      timeout,
      persistent: isPersistent === persistent ? undefined : isPersistent,
      ttl: this.runtime.timeToLive(timeout, Date.now()),
    };
    assertSize(write, readableSize(maxSize)); // the former one stays, if this one could not be read
    return write;
  }
}
