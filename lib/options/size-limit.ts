import { SessionSizeException } from '../exceptions/session.exception.js';

/** Bytes: the default of `maxSize`. */
export const DEFAULT_MAX_SIZE = 1024 * 1024;

/**
 * Bytes of a session that are read: no fewer than by default, so that a smaller `maxSize` loses no session that was
 * stored before.
 */
export const readableSize = (maxSize: number): number => Math.max(maxSize, DEFAULT_MAX_SIZE);

/** @throws SessionSizeException if what is to be stored, or was, takes more bytes than `maxSize` */
export function assertSize(
  { data, owner = '' }: { data: string; owner?: string | undefined },
  maxSize: number,
): void {
  // Three bytes a character at most: most data needs no count.
  if ((data.length + owner.length) * 3 <= maxSize) {
    return;
  }
  const size = Buffer.byteLength(data) + Buffer.byteLength(owner);
  if (size > maxSize) {
    throw new SessionSizeException(size, maxSize);
  }
}
