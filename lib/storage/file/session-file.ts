import { crc32 } from 'node:zlib';
import type { SessionRecord, SessionWrite } from '../session-backend.js';

/**
 * The format of a session's file: one line of JSON with what is not data, then the data. The file's mtime is
 * the record's `expiresAt`, so that a touch and a sweep need not open it.
 */
interface Header {
  v: 1;
  createdAt: number;
  owner?: string | undefined;
  timeout?: number | undefined;
  /** Bytes of the data, and their CRC-32: what a torn file gets wrong. */
  size: number;
  crc: number;
}

export function formatSessionFile(write: SessionWrite): Buffer {
  const data = Buffer.from(write.data, 'utf8');
  const header: Header = {
    v: 1,
    createdAt: write.createdAt ?? Date.now(),
    owner: write.owner,
    timeout: write.timeout,
    size: data.length,
    crc: crc32(data),
  };
  return Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), data]);
}

/** @returns undefined for a torn or a foreign file */
export function parseSessionFile(content: Buffer, expiresAt: number): SessionRecord | undefined {
  const end = content.indexOf(0x0a);
  if (end < 0) {
    return undefined;
  }
  let header: Header;
  try {
    header = JSON.parse(content.toString('utf8', 0, end));
  } catch {
    return undefined;
  }
  const data = content.subarray(end + 1);
  if (header?.v !== 1 || header.size !== data.length || header.crc !== crc32(data)) {
    return undefined;
  }
  const { createdAt, owner, timeout } = header;
  return { data: data.toString('utf8'), owner, timeout, createdAt, expiresAt };
}
