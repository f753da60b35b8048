import { randomBytes } from 'node:crypto';
import { SessionSerializationException } from '../../exceptions/session.exception.js';
import type { SessionRecord, SessionWrite } from '../session-backend.js';
import type { MemcachedItem } from './memcached.connection.js';

/** Bytes of an item that are not its value. */
const ITEM_OVERHEAD = 512;

/** The first line of a session's item; the rest is the data. */
export interface ItemHeader {
  createdAt: number;
  expiresAt: number;
  owner?: string | undefined;
  timeout?: number | undefined;
  /** New with each save: tells a touch, which changes the item's mark too, from a save by another holder. */
  version: string;
}

/** A session as memcached has it. */
export interface SessionItem {
  header: ItemHeader;
  data: string;
  /** The mark of this state, for compare-and-set. */
  cas: Buffer;
}

export const newVersion = (): string => randomBytes(9).toString('base64url');

export const toHeader = ({ owner, timeout, ttl }: SessionWrite, createdAt: number): ItemHeader => ({
  createdAt,
  expiresAt: Date.now() + ttl,
  owner,
  timeout,
  version: newVersion(),
});

export const toRecord = ({ header, data }: SessionItem): SessionRecord => ({
  data,
  owner: header.owner,
  timeout: header.timeout,
  createdAt: header.createdAt,
  expiresAt: header.expiresAt,
});

/**
 * @param limit bytes that an item may take
 * @throws SessionSerializationException: memcached would remove an item whose new value is too large
 */
export function formatItem(header: ItemHeader, data: string, limit: number): string {
  const value = `${JSON.stringify(header)}\n${data}`;
  const size = value.length * 3 > limit ? Buffer.byteLength(value) : 0;
  if (size > limit - ITEM_OVERHEAD) {
    throw new SessionSerializationException(
      'data',
      `takes ${size} bytes with its header, more than an item of memcached holds (${limit}); ` +
        `keep less in the session, or start memcached with a larger -I`,
    );
  }
  return value;
}

/** @returns undefined for an item that has expired, or is none of ours */
export function parseItem({ value, cas }: MemcachedItem): SessionItem | undefined {
  const end = value.indexOf('\n');
  try {
    const header = JSON.parse(value.slice(0, end)) as ItemHeader;
    const isOurs = typeof header.version === 'string' && Number.isFinite(header.createdAt);
    return isOurs && header.expiresAt > Date.now() ? { header, data: value.slice(end + 1), cas } : undefined;
  } catch {
    return undefined;
  }
}
