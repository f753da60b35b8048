/** The version of the format that records are stored in. */
export const RECORD_FORMAT = 1;

/**
 * A record of a version that is not known is nobody's loss, as it stays, but trouble: it can neither be read nor counts as
 * absent.
 * @param format what the record says; records of before it was kept say nothing, and are of version 1
 * @throws Error that says what to do
 */
export function checkRecordFormat(key: string, format: unknown): void {
  if (format !== RECORD_FORMAT && format !== undefined) {
    throw new Error(
      `session ${key} is stored in format ${String(format)}, and this version of nest-sessions knows ${RECORD_FORMAT}; ` +
        'run the version that stored it, or a newer one',
    );
  }
}
