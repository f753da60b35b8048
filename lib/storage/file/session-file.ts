import { crc32 } from 'node:zlib';
import type { SessionRecord } from '../session-backend.js';

/**
 * The format of a session's file: the CRC-32 of all that follows, in eight hexadecimal digits; a line of JSON with
 * what is not data; the data. The file's mtime is the record's `expiresAt`, so that a touch and a sweep need not open
 * it.
 */
interface Header {
  v: 1;
  /** A file is used again, for other sessions: a reader that opened it before must see that it is not the one meant. */
  key: string;
  createdAt: number;
  owner?: string | undefined;
  timeout?: number | undefined;
}

const CRC_LENGTH = 8;

export function formatSessionFile(header: Omit<Header, 'v'>, data: string): Buffer {
  const line = JSON.stringify({ v: 1, ...header } satisfies Header);
  const content = Buffer.from(`${'0'.repeat(CRC_LENGTH)} ${line}\n${data}`, 'utf8');
  const crc = crc32(content.subarray(CRC_LENGTH));
  content.write(crc.toString(16).padStart(CRC_LENGTH, '0'), 'latin1');
  return content;
}

/** @returns undefined for a torn or a foreign file, and for another session's */
export function parseSessionFile(content: Buffer, key: string, expiresAt: number): SessionRecord | undefined {
  const crc = Number.parseInt(content.toString('latin1', 0, CRC_LENGTH), 16);
  const end = content.indexOf(0x0a);
  if (end < 0 || crc !== crc32(content.subarray(CRC_LENGTH))) {
    return undefined;
  }
  let header: Header;
  try {
    header = JSON.parse(content.toString('utf8', CRC_LENGTH, end));
  } catch {
    return undefined;
  }
  if (header?.v !== 1 || header.key !== key) {
    return undefined;
  }
  const { createdAt, owner, timeout } = header;
  return { data: content.toString('utf8', end + 1), owner, timeout, createdAt, expiresAt };
}
