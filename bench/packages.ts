import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Table } from './results.js';

/** Unpacked bytes, and packages that an install brings along, of this package and its peers. */
const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const PEERS = join(ROOT, 'bench/peers');
const NAMES = [
  ['express-session'],
  ['express-session', 'memorystore'],
  ['express-session', 'session-file-store'],
  ['express-session', 'connect-pg-simple'],
  ['express-session', 'connect-memjs'],
  ['@fastify/cookie', '@fastify/session'],
];

const manifest = (folder: string) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));

/** Where Node would find a package, from a folder. */
function find(name: string, from: string): string | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    const path = join(folder, 'node_modules', name);
    if (existsSync(path)) {
      return path;
    }
    if (folder === dirname(folder)) {
      return undefined;
    }
  }
}

/** The folders of a package's dependencies, and of theirs. */
function dependencies(folder: string, found = new Set<string>()): Set<string> {
  for (const name of Object.keys(manifest(folder).dependencies ?? {})) {
    const path = find(name, folder);
    if (path !== undefined && !found.has(path)) {
      found.add(path);
      dependencies(path, found);
    }
  }
  return found;
}

const sizeOf = (folder: string): number =>
  readdirSync(folder, { withFileTypes: true })
    .filter(({ name }) => name !== 'node_modules')
    .reduce((sum, entry) => {
      const path = join(folder, entry.name);
      return sum + (entry.isDirectory() ? sizeOf(path) : statSync(path).size);
    }, 0);

const kib = (bytes: number): string => `${Math.round(bytes / 1024)} KiB`;

const table = new Table('Packages');
table.add('package', 'unpacked', 'with its dependencies', 'dependencies');
const { stdout } = await promisify(execFile)('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
  cwd: ROOT,
});
const [{ unpackedSize, name }] = JSON.parse(stdout);
const own = [...dependencies(ROOT)];
const ownTotal = unpackedSize + own.reduce((sum, folder) => sum + sizeOf(folder), 0);
table.add(name, kib(unpackedSize), kib(ownTotal), own.length);
for (const names of NAMES) {
  const folders = names.map(each => join(PEERS, 'node_modules', each));
  const all = new Set(folders);
  folders.forEach(folder => dependencies(folder, all));
  const total = [...all].reduce((sum, folder) => sum + sizeOf(folder), 0);
  const alone = folders.reduce((sum, folder) => sum + sizeOf(folder), 0);
  table.add(names.join(' + '), kib(alone), kib(total), all.size - folders.length);
}
table.end();
