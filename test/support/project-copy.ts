import { execFile } from 'node:child_process';
import { cp, mkdtemp, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const ROOT = resolve(import.meta.dirname, '../..');
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
 * @param names of nest-cli.json's projects to build
 * @returns its folder, which the caller removes
 */
export async function buildProjectCopy(...names: ('nest-sessions' | 'sample')[]): Promise<string> {
  const project = await mkdtemp(join(tmpdir(), 'nest-sessions-copy-'));
  for (const name of SOURCES) {
    await cp(join(ROOT, name), join(project, name), {
      recursive: true,
      filter: source => !source.endsWith('dist'),
    });
  }
  await symlink(join(ROOT, 'node_modules'), join(project, 'node_modules'), 'dir');
  const nest = join('node_modules', '@nestjs', 'cli', 'bin', 'nest.js');
  for (const name of names) {
    await promisify(execFile)(process.execPath, [nest, 'build', name], { cwd: project });
  }
  return project;
}
