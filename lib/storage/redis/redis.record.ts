import { clockOffset } from '../clock-offset.js';
import { fromText, toText } from '../escaped-text.js';
import { checkRecordFormat } from '../record-format.js';
import type { SessionRecord, SessionWrite } from '../session-backend.js';

/** Milliseconds: a time to live that the server takes, about 3,000 years. */
const LONGEST = 1e14;

/** As the server takes it: whole milliseconds. */
export const toMs = (ms: number): string => String(Math.ceil(Math.max(0, Math.min(ms, LONGEST))));

/** The fields that a write sets, in pairs. @param hint when the owner's index may forget it */
export function toFields(
  { data, owner, timeout, persistent }: SessionWrite,
  hint: string | undefined,
): string[] {
  const fields = Object.entries({ data, owner: owner && toText(owner), timeout, persistent, hint });
  return fields.flatMap(([name, value]) => (value === undefined ? [] : [name, String(value)]));
}

/**
 * The record that a script gave, by this process' clock, which all that is done with it goes by. A client may be set to
 * give bytes instead of texts.
 * @throws RecordFormatException for one of an unknown format
 */
export function toRecord(key: string, reply: unknown[]): SessionRecord {
  const [data, ownerText, format, timeout, persistent] = reply.map(value =>
    value === null || value === undefined ? undefined : String(value),
  );
  checkRecordFormat(key, format && Number(format), ownerText && fromText(ownerText));
  const [createdAt, lastUsedAt, expiresAt, now] = reply.slice(5).map(value => Number(value ?? Number.NaN));
  const offset = clockOffset(now!);
  return {
    data: data!,
    owner: ownerText === undefined ? undefined : fromText(ownerText),
    timeout: timeout === undefined ? undefined : Number(timeout),
    persistent: persistent === undefined ? undefined : persistent === 'true',
    createdAt: createdAt! - offset,
    expiresAt: expiresAt! - offset,
    lastUsedAt: (Number.isFinite(lastUsedAt) ? lastUsedAt! : createdAt!) - offset,
  };
}
