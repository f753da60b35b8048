import type { SessionRecord } from './session-backend.js';

/** The version of the format that records are stored in. */
export const RECORD_FORMAT = 1;

/**
 * A record of a version that is not known. It is nobody's loss, as it stays, but trouble: it can neither be read nor counts
 * as absent.
 */
export class RecordFormatException extends Error {
  /** @param owner whose it says it is */
  constructor(
    key: string,
    format: unknown,
    readonly owner?: string | undefined,
  ) {
    super(
      `session ${key} is stored in format ${String(format)}, and this version of nest-sessions knows ${RECORD_FORMAT}; ` +
        'run the version that stored it, or a newer one',
    );
  }
}

/**
 * @param format what the record says; records of before it was kept say nothing, and are of version 1
 * @throws RecordFormatException
 */
export function checkRecordFormat(key: string, format: unknown, owner?: string): void {
  if (format !== RECORD_FORMAT && format !== undefined) {
    throw new RecordFormatException(key, format, owner);
  }
}

/** For lists, which leave such a record out: it is no reason to give none of the others. */
export async function unlessLater<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof RecordFormatException) {
      return undefined;
    }
    throw error;
  }
}

/** Whose a record is, also one of a later version: "log out everywhere" does not leave it. */
export async function ownerOf(reading: Promise<SessionRecord | undefined>): Promise<string | undefined> {
  try {
    return (await reading)?.owner;
  } catch (error) {
    if (error instanceof RecordFormatException) {
      return error.owner;
    }
    throw error;
  }
}
