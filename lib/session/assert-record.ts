import { assertSize } from '../options/size-limit.js';
import type { SessionRecord } from '../storage/session-backend.js';

/** Milliseconds since 1970 that a Date can have, before and after. */
const MAX_TIME = 8.64e15;

/**
 * What is worked with must be what this package writes, whoever wrote it: the types say so, the storage cannot.
 * @param maxSize bytes of data and owner
 * @throws TypeError, SessionSizeException
 */
export function assertRecord(record: SessionRecord, maxSize: number): void {
  const { data, owner, timeout, persistent, createdAt, expiresAt, lastUsedAt } = record as Record<
    keyof SessionRecord,
    unknown
  >;
  const isRecord =
    typeof data === 'string' &&
    (owner === undefined || typeof owner === 'string') &&
    (timeout === undefined || (Number.isFinite(timeout) && (timeout as number) > 0)) &&
    (persistent === undefined || typeof persistent === 'boolean') &&
    [createdAt, expiresAt, lastUsedAt ?? createdAt].every(
      time => Number.isFinite(time) && Math.abs(time as number) <= MAX_TIME,
    );
  if (!isRecord) {
    throw new TypeError('its owner, its settings or its times are none');
  }
  assertSize(record, maxSize);
}
