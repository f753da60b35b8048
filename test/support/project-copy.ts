import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { buildOnce, ROOT } from './build-once.js';

const SOURCES = [
  'lib',
  'sample',
  'package.json',
  'README.md',
  'LICENSE',
  'nest-cli.json',
  'tsconfig.json',
  'tsconfig.build.json',
];

/**
 * A copy of the project, built as `npm run build` and `npm start` do; the real dist may be in use by others.
 * @returns its folder, which the caller removes
 */
export async function buildProjectCopy(): Promise<string> {
  const built = await buildOnce('project', SOURCES, async folder => {
    // Elsewhere: TypeScript compiles nothing under node_modules, where the folder is.
    const project = await copyProject();
    const nest = join('node_modules', '@nestjs', 'cli', 'bin', 'nest.js');
    for (const name of ['nest-sessions', 'sample']) {
      await promisify(execFile)(process.execPath, [nest, 'build', name], { cwd: project });
    }
    await rm(join(project, 'node_modules'));
    await cp(project, folder, { recursive: true });
    await rm(project, { recursive: true });
  });
  return copyOf(built, await readdir(built));
}

/** @returns the folder of a copy of the project that has not been built, which the caller removes */
export const copyProject = (): Promise<string> =>
  copyOf(ROOT, SOURCES, source => basename(source) !== 'dist');

async function copyOf(root: string, names: string[], filter?: (source: string) => boolean): Promise<string> {
  const project = await mkdtemp(join(tmpdir(), 'nest-sessions-copy-'));
  for (const name of names) {
    await cp(join(root, name), join(project, name), { recursive: true, filter });
  }
  await symlink(join(ROOT, 'node_modules'), join(project, 'node_modules'), 'dir');
  return project;
}
