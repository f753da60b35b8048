import { SessionOptionsException } from '../exceptions/session.exception.js';

/**
 * Loads the packages that only one storage needs.
 * @throws SessionOptionsException that names those that are missing, and the command that installs them
 */
export async function importOptional<T extends unknown[]>(
  storageType: string,
  ...names: { [K in keyof T]: string }
): Promise<T> {
  const loaded: unknown[] = [];
  const missing: string[] = [];
  for (const name of names) {
    try {
      loaded.push(await import(name));
    } catch (error) {
      if (!isMissing(name, error)) {
        throw error; // it is there, but broken
      }
      missing.push(name);
    }
  }
  if (missing.length > 0) {
    throw new SessionOptionsException([
      `storageType '${storageType}' needs ${missing.join(' and ')}, which could not be found; run: npm install ${missing.join(' ')}`,
    ]);
  }
  return loaded as T;
}

/** Whether it is this package that is not there, and not one that it needs in turn. */
const isMissing = (name: string, error: unknown): boolean =>
  (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND' && String(error).includes(`'${name}'`);
