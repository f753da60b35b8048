import { SAME_TIME } from '../clock-offset.js';
import { DamageLog } from '../damage-log.js';
import { fromText, toText } from '../escaped-text.js';
import { HintedOwners } from '../hinted-owners.js';
import { LockedAdmission } from '../locked-admission.js';
import { unlessLater } from '../record-format.js';
import type {
  Admission,
  Lease,
  OwnerLimit,
  OwnerSelection,
  SessionBackend,
  SessionRecord,
  SessionWrite,
  StoredRecord,
} from '../session-backend.js';
import type { RedisConnection } from './redis.connection.js';
import { RedisKeys } from './redis.keys.js';
import { RedisOwnerIndex, type RedisHint } from './redis.owner-index.js';
import { toFields, toMs, toRecord } from './redis.record.js';
import { CREATE, DELETE, DELETE_OWNED, LOCK, READ, RENEW, SAVE, TOUCH, UNLOCK } from './redis.scripts.js';
import { RedisWakeups } from './redis.wakeups.js';

/** Records that a list reads together. */
const READ_TOGETHER = 100;

/**
 * Sessions in Redis, for any number of processes: a hash each, which the server removes when it expires. Each step is one
 * script on one key, so that a request costs two round trips: one locks and reads, one saves and unlocks. Times are the
 * server's.
 */
export class RedisBackend implements SessionBackend {
  private readonly damage = new DamageLog('SessionRedisBackend');
  private readonly index: RedisOwnerIndex;
  private readonly owners: HintedOwners<RedisHint>;
  private readonly keys: RedisKeys;
  private readonly wakeups: RedisWakeups;
  private readonly admission: LockedAdmission;
  /** Hints that are being removed behind the answers. */
  private readonly forgetting = new Set<Promise<void>>();

  /**
   * @param prefix of the keys
   * @param maxSize bytes of data that are read at most
   * @param onClose lets go of the client
   */
  constructor(
    private readonly connection: RedisConnection,
    private readonly prefix: string,
    private readonly maxSize: number,
    private readonly onClose: () => void,
  ) {
    this.index = new RedisOwnerIndex(connection, prefix);
    this.owners = new HintedOwners(
      this.index,
      key => this.read(key),
      async (key, owner) => (await connection.run(DELETE_OWNED, prefix + key, toText(owner))) === 1,
    );
    this.keys = new RedisKeys(connection, prefix);
    this.admission = new LockedAdmission(this, owner => this.index.lockOf(owner));
    this.wakeups = new RedisWakeups(connection.commands, channelOf(prefix));
  }

  onFreed(listener: (key: string) => void): void {
    this.wakeups.listen(listener);
  }

  async read(key: string): Promise<SessionRecord | undefined> {
    return this.found(key, await this.connection.run(READ, this.prefix + key, String(this.maxSize)));
  }

  async lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
    const name = this.prefix + key;
    const reply = await this.connection.run(LOCK, name, lease.token, toMs(lease.ms), String(this.maxSize));
    if (typeof reply === 'number') {
      await this.wakeups.readyFor(key, reply);
      return 'busy';
    }
    return this.found(key, reply);
  }

  async renew(key: string, lease: Lease): Promise<boolean> {
    return (await this.connection.run(RENEW, this.prefix + key, lease.token, toMs(lease.ms))) === 1;
  }

  async unlock(key: string, lease: Lease, ttl?: number): Promise<void> {
    const life = ttl === undefined ? '' : toMs(ttl);
    const unhinted = await this.connection.run(UNLOCK, this.prefix + key, lease.token, life);
    if (isThere(unhinted) && ttl !== undefined) {
      await this.touch(key, ttl);
    }
  }

  async touch(key: string, ttl: number): Promise<boolean> {
    const touch = (hint: string) => this.connection.run(TOUCH, this.prefix + key, toMs(ttl), hint);
    let done = await touch('');
    if (Array.isArray(done)) {
      done = await touch(await this.index.hint(fromText(String(done[0])), key, ttl));
    }
    return done === 1;
  }

  async create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
    const { owner, createdAt, ttl } = write;
    const hint = owner === undefined ? undefined : await this.index.hint(owner, key, ttl);
    const done = await this.connection.run(
      CREATE,
      this.prefix + key,
      lease?.token ?? '',
      toMs(lease?.ms ?? 0),
      toMs(ttl),
      String(createdAt ?? ''),
      String(Date.now()),
      String(SAME_TIME),
      ...toFields(write, hint),
    );
    return done === 1;
  }

  async save(
    key: string,
    write: SessionWrite,
    lease: Lease,
    { unlock }: { unlock: boolean },
  ): Promise<boolean> {
    const { owner, ttl } = write;
    const [life, leaseMs] = [toMs(ttl), unlock ? '' : toMs(lease.ms)];
    const save = (hint?: string) =>
      this.connection.run(SAVE, this.prefix + key, lease.token, leaseMs, life, ...toFields(write, hint));
    let done = await save();
    if (isWord(done, 'hint')) {
      done = await save(await this.index.hint(owner!, key, ttl));
    }
    return done === 1;
  }

  async delete(key: string, lease?: Lease): Promise<boolean> {
    const reply = await this.connection.run(DELETE, this.prefix + key, lease?.token ?? '');
    const [removed, owner, hint] = reply as unknown[];
    if (isThere(owner) && isThere(hint)) {
      this.forgetLater(fromText(String(owner)), key, String(hint));
    }
    return removed === 1;
  }

  /** The server removes by itself what has expired, and hints with it. */
  async cleanUp(): Promise<number> {
    return 0;
  }

  async close(): Promise<void> {
    await Promise.all(this.forgetting);
    await this.wakeups.close();
    this.onClose();
  }

  count(): Promise<number> {
    return this.keys.count();
  }

  async list(after: string | undefined, limit: number): Promise<StoredRecord[]> {
    const found: StoredRecord[] = [];
    // Some of those that are there may be gone, or no records: then those that come next are looked at.
    for (let from = after; found.length < limit;) {
      const keys = await this.keys.firstAfter(from, Math.max(limit - found.length, READ_TOGETHER));
      for (let at = 0; at < keys.length && found.length < limit; at += READ_TOGETHER) {
        const some = keys.slice(at, at + READ_TOGETHER);
        const records = await Promise.all(some.map(key => unlessLater(this.read(key))));
        found.push(...some.flatMap((key, index) => (records[index] ? { key, record: records[index] } : [])));
      }
      from = keys.at(-1);
      if (from === undefined) {
        break;
      }
    }
    return found.slice(0, limit);
  }

  findByOwner(owner: string): Promise<StoredRecord[]> {
    return this.owners.find(owner);
  }

  admit(admission: Admission, limit: OwnerLimit): Promise<boolean | 'refused'> {
    return this.admission.admit(admission, limit);
  }

  deleteByOwner(owner: string, options?: OwnerSelection): Promise<number> {
    return this.owners.delete(owner, options);
  }

  private found(key: string, reply: unknown): SessionRecord | undefined {
    if (Array.isArray(reply)) {
      return toRecord(key, reply);
    }
    if (isWord(reply, 'damaged')) {
      this.damage.warn(
        key,
        `What is stored under the key of session ${key} is no session: it counts as missing`,
      );
    }
    return undefined;
  }

  /** A hint that stays does no harm: it goes by itself. */
  private forgetLater(owner: string, key: string, hint: string): void {
    const work = this.index.forget(owner, [{ key, hint }]).catch(() => undefined);
    this.forgetting.add(work);
    void work.then(() => this.forgetting.delete(work));
  }
}

/** Where the scripts publish which lock was freed. */
export const channelOf = (prefix: string): string => `${prefix}freed`;

const isThere = (value: unknown): boolean => value !== null && value !== undefined;

const isWord = (reply: unknown, word: string): boolean => !Array.isArray(reply) && String(reply) === word;
