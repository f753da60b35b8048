import { hashOwner, type OwnerHint, type OwnerHints } from '../hinted-owners.js';
import type { RedisConnection } from './redis.connection.js';
import { RedisOwnerLock } from './redis.owner-lock.js';
import { toMs } from './redis.record.js';
import { FORGET, HINT } from './redis.scripts.js';

/** Hints that one command drops. */
const TOGETHER = 100;
/** Entries of an index that one command gives, about. */
const PAGE = 500;
/** How often longer than a session lives its index remembers it: as long as that, touches need no new hint. */
const LIVES = 2;
/** Milliseconds that a hint is kept beyond its time, for servers whose clocks differ. */
const ROOM = 60 * 60_000;

export interface RedisHint extends OwnerHint {
  /** When it may be forgotten. */
  readonly hint: string;
}

/**
 * Which sessions may be an owner's: a sorted set for each owner, which may lie on another server than its sessions.
 * A record keeps how long its hint lasts, and never lives longer: a touch or save that would move it beyond writes a new
 * hint before. So hints of what has expired go by themselves.
 */
export class RedisOwnerIndex implements OwnerHints<RedisHint> {
  /** @param prefix of the keys of sessions */
  constructor(
    private readonly connection: RedisConnection,
    private readonly prefix: string,
  ) {}

  /** @param ttl milliseconds that the session is to live @returns the hint, for its record */
  async hint(owner: string, key: string, ttl: number): Promise<string> {
    const life = toMs(LIVES * ttl);
    return String(await this.connection.run(HINT, this.nameOf(owner), key, life, String(ROOM)));
  }

  /** But for those that were written since. */
  async forget(owner: string, hints: RedisHint[]): Promise<void> {
    for (let from = 0; from < hints.length; from += TOGETHER) {
      const pairs = hints.slice(from, from + TOGETHER).flatMap(({ key, hint }) => [key, hint]);
      await this.connection.run(FORGET, this.nameOf(owner), ...pairs);
    }
  }

  async hintsOf(owner: string): Promise<RedisHint[]> {
    const name = this.nameOf(owner);
    const hints = new Map<string, string>();
    let cursor = '0';
    do {
      const reply = await this.connection.send(name, ['ZSCAN', name, cursor, 'COUNT', String(PAGE)]);
      const [next, page] = reply as [unknown, unknown[]];
      const texts = page.flat().map(String); // a later protocol could give pairs
      for (let at = 0; at < texts.length; at += 2) {
        hints.set(texts[at]!, texts[at + 1]!);
      }
      cursor = String(next);
    } while (cursor !== '0');
    return Array.from(hints, ([key, hint]) => ({ key, hint }));
  }

  /** Held by whoever gives a session to an owner who may have so many. */
  lockOf(owner: string): RedisOwnerLock {
    return new RedisOwnerLock(this.connection, `${this.nameOf(owner)}:lock`);
  }

  private nameOf(owner: string): string {
    return indexKey(this.prefix, owner);
  }
}

export const indexKey = (prefix: string, owner: string): string => `${prefix}owner:${hashOwner(owner)}`;
