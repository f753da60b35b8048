import { FileBackend } from '../../lib/storage/file/file.backend.js';
import { becomeUnprivileged } from './unprivileged.js';

/** Opens the file storage of STORAGE_PATH, as a user without rights. Prints `opened`, or `refused` and the reason. */
becomeUnprivileged();
await new FileBackend(process.env.STORAGE_PATH!).open().then(
  () => console.log('opened'),
  (error: Error) => console.log(`refused ${error.message.replaceAll('\n', ' ')}`),
);
