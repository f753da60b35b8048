import { rmdirSync } from 'node:fs';

/** Whether a file operation failed with one of these codes. */
export function isErrno(error: unknown, ...codes: string[]): boolean {
  return codes.includes((error as NodeJS.ErrnoException)?.code ?? '');
}

/** As `unlessMissing`, for an operation that is done at once. */
export function unlessMissingSync<T>(operation: () => T): T | undefined {
  try {
    return operation();
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return undefined;
    }
    throw error;
  }
}

/** Runs a file operation; a missing file is `undefined`, any other failure is thrown. */
export async function unlessMissing<T>(operation: Promise<T>): Promise<T | undefined> {
  try {
    return await operation;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return undefined;
    }
    throw error;
  }
}

/** Of several processes, or while something is put into it: then it stays. */
export function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST', 'EPERM')) {
      throw error;
    }
  }
}
