// A storage that is in the list has its own options, and no others.
import type { SessionModuleOptions } from '../../index.js';

export const right: SessionModuleOptions[] = [
  { storageType: 'json', folder: './sessions' },
  { storageType: 'json', folder: process.env.FOLDER, indent: 2, timeout: 5 },
];

export const wrong: SessionModuleOptions[] = [
  // @ts-expect-error the folder is missing
  { storageType: 'json' },
  // @ts-expect-error a value of another type
  { storageType: 'json', folder: './sessions', indent: '2' },
  // @ts-expect-error another storage's option
  { storageType: 'json', folder: './sessions', maxSessions: 5 },
  // @ts-expect-error an option of this storage, with another
  { storageType: 'ram', folder: './sessions' },
  // @ts-expect-error an option of this storage, without it
  { folder: './sessions' },
];
