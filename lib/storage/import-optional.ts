import { SessionOptionsException } from '../exceptions/session.exception.js';

/**
 * Loads a package that only one storage needs.
 * @param install what to install for that storage
 * @throws SessionOptionsException that says so, if it is not there
 */
export async function importOptional<T>(name: string, storageType: string, install: string): Promise<T> {
  try {
    return (await import(name)) as T;
  } catch (error) {
    if (
      (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND' &&
      String(error).includes(`'${name}'`)
    ) {
      throw new SessionOptionsException([
        `storageType '${storageType}' needs the package ${name}, which is not installed; run: npm install ${install}`,
      ]);
    }
    throw error;
  }
}
