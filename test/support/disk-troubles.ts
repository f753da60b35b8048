import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { chmod, chown, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isRoot, NOBODY } from '../programs/unprivileged.js';

/** Where a server keeps its sessions, and the server's process. */
export interface Disk {
  path: string;
  pid: number;
}

/** A way for a disk to fail, and to recover, under a running server. */
export interface DiskTrouble {
  name: string;
  /** Whether sessions can still be read. */
  canRead: boolean;
  /** Whether it needs a server without root's rights. */
  unprivileged?: boolean;
  /** A reason why it cannot be brought about here. */
  impossible?: string | false;
  /** Before the server starts, with the empty folder; `undo` is called when the server is gone. */
  prepare?(path: string): void;
  undo?(path: string): void;
  begin(disk: Disk): Promise<void> | void;
  end(disk: Disk): Promise<void> | void;
}

const away = (path: string): string => `${path}.away`;
const filler = (path: string): string => join(path, 'filler');

export const DISK_TROUBLES: DiskTrouble[] = [
  {
    name: 'a full disk',
    canRead: true,
    impossible: !canMount() && 'only root may mount a small disk',
    prepare: path => mount(path),
    undo: path => execFileSync('umount', [path]),
    begin: ({ path }) => fill(filler(path)),
    end: ({ path }) => rm(filler(path)),
  },
  {
    name: 'a disk that takes no more bytes',
    canRead: true,
    impossible: !hasPrlimit() && 'there is no prlimit',
    begin: ({ pid }) => limitFileSize(pid, '0:'),
    end: ({ pid }) => limitFileSize(pid, 'unlimited:'),
  },
  {
    name: 'an unreadable folder',
    canRead: false,
    unprivileged: true,
    begin: ({ path }) => chmod(path, 0o000),
    end: ({ path }) => chmod(path, 0o700),
  },
  {
    name: 'a missing folder',
    canRead: false,
    begin: ({ path }) => rename(path, away(path)),
    end: ({ path }) => rename(away(path), path),
  },
  {
    name: 'an empty folder of another file system, as of a disk that is not mounted',
    canRead: false,
    impossible: !canMount() && 'only root may mount another file system',
    begin: ({ path }) => mount(path),
    end: ({ path }) => void execFileSync('umount', [path]),
  },
  {
    name: 'a file in place of the folder',
    canRead: false,
    begin: async ({ path }) => {
      await rename(path, away(path));
      await writeFile(path, '');
    },
    end: async ({ path }) => {
      await rm(path);
      await rename(away(path), path);
    },
  },
];

/** To the user that an unprivileged server runs as. */
export async function giveToServer(path: string): Promise<void> {
  if (isRoot()) {
    await chown(path, NOBODY, NOBODY);
  }
}

function mount(path: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=700', 'tmpfs', path], { stdio: 'ignore' });
}

function canMount(): boolean {
  const path = mkdtempSync(join(tmpdir(), 'nest-sessions-'));
  try {
    mount(path);
    execFileSync('umount', [path]);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(path, { recursive: true });
  }
}

function hasPrlimit(): boolean {
  try {
    execFileSync('prlimit', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** The soft limit of a running process: writes that go beyond it fail, as on a full disk. */
function limitFileSize(pid: number, limit: string): void {
  execFileSync('prlimit', ['--pid', String(pid), `--fsize=${limit}`]);
}

function fill(file: string): void {
  const chunk = Buffer.alloc(4096);
  try {
    for (;;) {
      appendFileSync(file, chunk);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') {
      throw error;
    }
  }
}
