import { createHash } from 'node:crypto';
import { unlessLater } from '../record-format.js';
import type { OwnerSelection, SessionRecord, StoredRecord } from '../session-backend.js';
import type { RedisConnection } from './redis.connection.js';
import { RedisOwnerLock } from './redis.owner-lock.js';
import { toMs } from './redis.record.js';
import { DELETE_OWNED, FORGET, HINT } from './redis.scripts.js';

/** Sessions of an owner that are looked at together: the server does others' work in between. */
const TOGETHER = 100;
/** Entries of an index that one command gives, about. */
const PAGE = 500;
/** How often longer than a session lives its index remembers it: as long as that, touches need no new hint. */
const LIVES = 2;
/** Milliseconds that a hint is kept beyond its time, for servers whose clocks differ. */
const ROOM = 60 * 60_000;

interface Entry {
  key: string;
  hint: string;
}

/**
 * Which sessions may be an owner's: a sorted set for each owner, which may lie on another server than its sessions.
 * Its entries are hints, written before the record says so; what counts is the record. A record keeps how long its hint
 * lasts, and never lives longer: a touch or save that would move it beyond writes a new hint before. So hints of what has
 * expired go by themselves.
 */
export class RedisOwners {
  /** @param prefix of the keys of sessions */
  constructor(
    private readonly connection: RedisConnection,
    private readonly prefix: string,
    private readonly read: (key: string) => Promise<SessionRecord | undefined>,
  ) {}

  /** @param ttl milliseconds that the session is to live @returns the hint, for its record */
  async hint(owner: string, key: string, ttl: number): Promise<string> {
    const life = toMs(LIVES * ttl);
    return String(await this.connection.run(HINT, this.indexOf(owner), key, life, String(ROOM)));
  }

  /** For sessions that are gone. */
  async forget(owner: string, entries: Entry[]): Promise<void> {
    if (entries.length > 0) {
      const pairs = entries.flatMap(({ key, hint }) => [key, hint]);
      await this.connection.run(FORGET, this.indexOf(owner), ...pairs);
    }
  }

  async find(owner: string): Promise<StoredRecord[]> {
    const found: StoredRecord[] = [];
    await inBatches(await this.entriesOf(owner), async ({ key }) => {
      const record = await unlessLater(this.read(key));
      if (record?.owner === owner) {
        found.push({ key, record });
      }
    });
    return found.sort((a, b) => a.record.createdAt - b.record.createdAt || (a.key < b.key ? -1 : 1));
  }

  async delete(owner: string, { except, only }: OwnerSelection = {}): Promise<number> {
    let removed = 0;
    let known = '';
    // A session that gets a new key is there under one of two at least. It is missed in no two rounds in a row that find
    // nothing while no hint of a new key comes: hints come before the records.
    for (let rounds = 0; rounds < 2;) {
      const entries = (await this.entriesOf(owner)).filter(({ key }) => key !== except);
      const state = entries
        .map(({ key }) => key)
        .sort()
        .join();
      rounds = state === known ? rounds + 1 : 0;
      known = state;
      const gone: Entry[] = [];
      await inBatches(
        entries.filter(({ key }) => (only ?? key) === key),
        async entry => {
          if ((await this.connection.run(DELETE_OWNED, this.prefix + entry.key, owner)) === 1) {
            gone.push(entry);
          }
        },
      );
      await inBatches(chunks(gone), some => this.forget(owner, some));
      removed += gone.length;
      rounds = gone.length > 0 ? 0 : rounds;
    }
    return removed;
  }

  /** Held by whoever gives a session to an owner who may have so many. */
  lockOf(owner: string): RedisOwnerLock {
    return new RedisOwnerLock(this.connection, `${this.indexOf(owner)}:lock`);
  }

  private async entriesOf(owner: string): Promise<Entry[]> {
    const index = this.indexOf(owner);
    const hints = new Map<string, string>();
    let cursor = '0';
    do {
      const reply = await this.connection.send(index, ['ZSCAN', index, cursor, 'COUNT', String(PAGE)]);
      const [next, page] = reply as [unknown, unknown[]];
      const texts = page.flat().map(String); // a later protocol could give pairs
      for (let at = 0; at < texts.length; at += 2) {
        hints.set(texts[at]!, texts[at + 1]!);
      }
      cursor = String(next);
    } while (cursor !== '0');
    return Array.from(hints, ([key, hint]) => ({ key, hint }));
  }

  /** Hashed: an owner may be any string, and is nobody else's business. */
  private indexOf(owner: string): string {
    return indexKey(this.prefix, owner);
  }
}

export const indexKey = (prefix: string, owner: string): string =>
  `${prefix}owner:${createHash('sha256').update(owner).digest('base64url')}`;

const chunks = <T>(items: T[]): T[][] =>
  Array.from({ length: Math.ceil(items.length / TOGETHER) }, (_, index) =>
    items.slice(index * TOGETHER, (index + 1) * TOGETHER),
  );

async function inBatches<T>(items: T[], work: (item: T) => Promise<unknown>): Promise<void> {
  for (const some of chunks(items)) {
    await Promise.all(some.map(work));
  }
}
