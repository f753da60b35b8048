import { number, required } from '../../options/option.js';
import { isText, storageType } from '../storage-type.js';
import { JsonBackend } from './json.backend.js';

const MISSING = `is missing; storageType 'json' needs a folder, e.g. folder: './sessions'`;

/** Sessions in JSON files. */
export const json = storageType({
  options: {
    /** The folder to keep sessions in; created if missing. */
    folder: required<string, string>(MISSING, folder => (isText(folder) ? undefined : MISSING), String),
    /** By how much the files are indented. Default 0. */
    indent: number({ min: 0, max: 10, integer: true, unit: 'spaces', default: 0 }),
  },
  open: ({ folder, indent }) => new JsonBackend(folder, indent),
});
