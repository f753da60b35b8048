import { crc32 } from 'node:zlib';
import { checkRecordFormat, RECORD_FORMAT } from '../record-format.js';
import type { SessionRecord, SessionSettings } from '../session-backend.js';

/**
 * The format of a session's file: the CRC-32 of all that follows, in eight hexadecimal digits; a line of JSON with
 * what is not data; the data. The file's mtime is the record's `expiresAt`, and its ctime, which the file system moves with each
 * save and touch, is `lastUsedAt`: so a touch and a sweep need not open it.
 */
interface Header extends SessionSettings {
  /** The version of the format. */
  v: number;
  /** So that a file that came under a wrong name is not taken for a session. */
  key: string;
  createdAt: number;
}

/** What the file system says of a session. */
type FileTimes = Pick<SessionRecord, 'expiresAt' | 'lastUsedAt'>;

const CRC_LENGTH = 8;
/** Bytes that one of the owner's may become in the header, which is JSON. */
const MAX_ESCAPE = 6;
/** Bytes that a file holds besides, and some more. */
const HEADER_BYTES = 1_024;

/** @param maxSize bytes of data and owner */
export const maxFileSize = (maxSize: number): number => MAX_ESCAPE * maxSize + HEADER_BYTES;

export function formatSessionFile(header: Omit<Header, 'v'>, data: string): Buffer {
  const line = JSON.stringify({ v: RECORD_FORMAT, ...header } satisfies Header);
  const content = Buffer.from(`${'0'.repeat(CRC_LENGTH)} ${line}\n${data}`, 'utf8');
  const crc = crc32(content.subarray(CRC_LENGTH));
  content.write(crc.toString(16).padStart(CRC_LENGTH, '0'), 'latin1');
  return content;
}

/**
 * @returns undefined for a torn or a foreign file, and for another session's
 * @throws RecordFormatException
 */
export function parseSessionFile(content: Buffer, key: string, times: FileTimes): SessionRecord | undefined {
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
  if (typeof header?.v !== 'number' || header.key !== key) {
    return undefined;
  }
  checkRecordFormat(key, header.v, header.owner);
  const { createdAt, owner, timeout, persistent } = header;
  return { data: content.toString('utf8', end + 1), owner, timeout, persistent, createdAt, ...times };
}
