import { required } from '../../options/option.js';
import { isText, storageTimeout, storageType } from '../storage-type.js';
import { FileBackend } from './file.backend.js';

const MISSING = `is missing; storageType 'file' needs a folder, e.g. storagePath: './sessions'`;

/** Sessions in the files of one host. */
export const file = storageType({
  options: {
    /** The folder to keep sessions in; created if missing. */
    storagePath: required<string, string>(MISSING, path => (isText(path) ? undefined : MISSING), String),
    /** Seconds that a call of the storage may take before the request is answered 503. Default 5. */
    storageTimeout,
  },
  async open({ storagePath }, maxSize) {
    const backend = new FileBackend(storagePath, maxSize);
    await backend.open();
    return backend;
  },
});
