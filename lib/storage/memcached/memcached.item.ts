import { randomBytes } from 'node:crypto';
import { SessionSerializationException } from '../../exceptions/session.exception.js';
import type { DamageLog } from '../damage-log.js';
import { checkRecordFormat, RECORD_FORMAT } from '../record-format.js';
import type { SessionRecord, SessionSettings, SessionWrite } from '../session-backend.js';
import { usedNow } from '../used-now.js';
import type { MemcachedItem } from './memcached.connection.js';

/** Bytes of an item that are not its value. */
const ITEM_OVERHEAD = 512;

/** The first line of a session's item; the rest is the data. */
export interface ItemHeader extends SessionSettings {
  createdAt: number;
  expiresAt: number;
  /** What was stored before it was kept has none. */
  lastUsedAt?: number;
  /** The version of the record's format; likewise. */
  format?: number;
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

export const toHeader = (
  { owner, timeout, persistent, ttl }: SessionWrite,
  createdAt: number,
): ItemHeader => ({
  createdAt,
  ...usedNow(ttl),
  owner,
  timeout,
  persistent,
  format: RECORD_FORMAT,
  version: newVersion(),
});

export const toRecord = ({ header, data }: SessionItem): SessionRecord => ({
  data,
  owner: header.owner,
  timeout: header.timeout,
  persistent: header.persistent,
  createdAt: header.createdAt,
  expiresAt: header.expiresAt,
  lastUsedAt: header.lastUsedAt ?? header.createdAt,
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

/**
 * @param damage is told of an item that is none of ours
 * @returns undefined for that one, and for one that has expired
 * @throws Error for a record of an unknown format
 */
export function parseItem(
  key: string,
  { value, cas }: MemcachedItem,
  damage?: DamageLog,
): SessionItem | undefined {
  const end = value.indexOf('\n');
  const header = parseHeader(value.slice(0, end));
  if (!header) {
    damage?.warn(key, `The item of session ${key} is torn or no session: it counts as missing`);
    return undefined;
  }
  if (header.expiresAt <= Date.now()) {
    return undefined;
  }
  checkRecordFormat(key, header.format);
  return { header, data: value.slice(end + 1), cas };
}

/** Whether an item is a session that has not expired, in whatever format. */
export function isLive({ value }: MemcachedItem): boolean {
  const header = parseHeader(value.slice(0, value.indexOf('\n')));
  return header !== undefined && header.expiresAt > Date.now();
}

function parseHeader(line: string): ItemHeader | undefined {
  try {
    const header = JSON.parse(line) as ItemHeader;
    const { version, createdAt, expiresAt } = header;
    return typeof version === 'string' && [createdAt, expiresAt].every(Number.isFinite) ? header : undefined;
  } catch {
    return undefined;
  }
}
