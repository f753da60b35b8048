import { clockOffset } from '../clock-offset.js';
import { fromText, toText } from '../escaped-text.js';
import { checkRecordFormat } from '../record-format.js';
import type {
  Lease,
  SessionRecord,
  SessionSettings,
  SessionWrite,
  StoredRecord,
} from '../session-backend.js';
import { MAX_INTEGER } from './postgresql.sql.js';

/** A session as a statement returns it. */
export interface Row extends Omit<SessionRecord, keyof SessionSettings> {
  key: string;
  owner: string | null;
  timeout: number | null;
  persistent: boolean | null;
  format: number;
  /** When it was read; as its other times, by the database's clock. */
  now: number;
}

/** A session as a statement saves it, with the lock in hand. */
export interface Saving {
  key: string;
  token: string;
  data: string;
  owner: string | null;
  timeout: number | null;
  persistent: boolean | null;
  ttl: number;
}

/** Bytes that one of data becomes at most in a JSON string, which is how data that is no JSON is kept. */
const MAX_ESCAPE = 6;

/** Bytes that data of so many takes in its column, at most. */
export const maxBytesOf = (maxSize: number): number => Math.min(MAX_ESCAPE * maxSize + 2, MAX_INTEGER);

export const mayBeJson = (data: string): boolean => data.startsWith('{') && data.isWellFormed();

export const toStored = (rows: Row[]): StoredRecord[] =>
  rows.map(row => ({ key: row.key, record: toRecord(row) }));

/**
 * By this process' clock, which all that is done with it goes by.
 * @throws Error for a record of an unknown format
 */
export function toRecord(row: Row): SessionRecord {
  checkRecordFormat(row.key, row.format);
  const { data, owner, timeout, persistent, createdAt, expiresAt, lastUsedAt, now } = row;
  const offset = clockOffset(now);
  return {
    data: data.startsWith('"') ? JSON.parse(data) : data,
    owner: owner === null ? undefined : fromText(owner),
    timeout: timeout ?? undefined,
    persistent: persistent ?? undefined,
    createdAt: createdAt - offset,
    expiresAt: expiresAt - offset,
    lastUsedAt: lastUsedAt - offset,
  };
}

/**
 * What a statement for several takes: an array for each column. In the same order everywhere, that of keys, so that no two
 * statements wait for each other's rows.
 */
export function columns<Item extends { key: string }>(items: Item[], ...names: (keyof Item)[]): unknown[][] {
  const sorted = items.toSorted((a, b) => (a.key < b.key ? -1 : 1));
  return names.map(name => sorted.map(item => item[name] ?? null));
}

/** @param data as the column takes it */
export function toSaving(key: string, data: string, write: SessionWrite, lease: Lease): Saving {
  const { timeout = null, persistent = null, ttl } = write;
  return { key, token: toToken(lease), data, owner: toOwner(write), timeout, persistent, ttl };
}

/** @param lease goes on; without one, the lock is freed */
export function saveValues(saving: Saving, lease?: Lease): unknown[] {
  const { key, token, data, owner, timeout, persistent, ttl } = saving;
  return [key, token, data, owner, timeout, persistent, ttl, ...(lease ? [lease.ms] : [])];
}

/** @param data as the column takes it */
export function createValues(
  key: string,
  data: string,
  write: SessionWrite,
  lease: Lease | undefined,
): unknown[] {
  const { timeout = null, persistent = null, createdAt = null, ttl } = write;
  const lock = lease ? [toToken(lease), lease.ms] : [null, null];
  return [key, data, toOwner(write), timeout, persistent, createdAt, ttl, ...lock, Date.now()];
}

const toOwner = ({ owner }: SessionWrite): string | null => (owner === undefined ? null : toText(owner));

/** With the time of the lease, so that its beginning is known from its end. */
export const toToken = ({ token, ms }: Lease): string => `${token} ${ms}`;
