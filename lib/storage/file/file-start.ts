import { linkSync, mkdirSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { SessionOptionsException } from '../../exceptions/session.exception.js';
import { describeError } from '../describe-error.js';
import { isErrno } from './file-errors.js';

/** By the codes that systems give, what is wrong with a folder, and what to do. */
const REASONS: Record<string, string> = {
  ENOTDIR: 'it is a file, or lies in one; name a folder',
  EEXIST: 'it is a file; name a folder',
  EACCES:
    'this process may not use it; give it to the user that runs the application (chown, chmod), or name another',
  EROFS: 'its file system is read-only; name a folder on another',
  ENOSPC: 'its disk is full',
  EDQUOT: 'its disk is full for the user that runs the application',
  ENOENT: 'it cannot be made there; is it, or what it lies in, a link that leads nowhere?',
  ELOOP: 'it lies behind links that lead to each other',
  ENAMETOOLONG: 'its name is too long',
};
const OTHERWISE =
  'its file system does not do all that the storage needs (hard links, renames of folders, dates); name a folder on a local disk';

/** With what it lies in. Not `recursive`: where a file system answers ENOENT to any name (/proc), Node.js tries for ever. */
export function makeFolders(path: string): void {
  for (let isTriedAgain = false; ; isTriedAgain = true) {
    try {
      mkdirSync(path, { mode: 0o700 });
      return;
    } catch (error) {
      if (isErrno(error, 'EEXIST') && statSync(path).isDirectory()) {
        return;
      }
      if (isTriedAgain || !isErrno(error, 'ENOENT') || dirname(path) === path) {
        throw error;
      }
      makeFolders(dirname(path));
    }
  }
}

/**
 * Makes the storage's folder, and does once in it what sessions need: so that a start fails, not each request.
 * @param make makes it, with what belongs in it
 * @param probe a name in it that nobody has
 * @throws SessionOptionsException that says what to do
 */
export function startFolder(root: string, make: () => void, probe: string): void {
  try {
    make();
    mkdirSync(probe, { mode: 0o700 });
    try {
      writeFileSync(`${probe}/made`, '', { mode: 0o600 });
      utimesSync(`${probe}/made`, 1, 1);
      linkSync(`${probe}/made`, `${probe}/published`);
      mkdirSync(`${probe}/lock`);
      renameSync(`${probe}/lock`, `${probe}/renamed`);
      renameSync(`${probe}/made`, `${probe}/renamed/removed`);
    } finally {
      rmSync(probe, { recursive: true, force: true });
    }
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    throw new SessionOptionsException(
      [
        `the folder ${root} of storagePath cannot be used: ${REASONS[code] ?? OTHERWISE} (${describeError(error)})`,
      ],
      { cause: error },
    );
  }
}
