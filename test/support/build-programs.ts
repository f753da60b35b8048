import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CACHE = join(ROOT, 'node_modules/.cache/nest-sessions-programs');
/** Milliseconds after which what was built from other sources is removed. */
const KEEP = 60 * 60_000;

let built: Promise<string> | undefined;

/**
 * Compiles lib/ and test/programs/ to JavaScript that plain node runs. What is built from the same sources
 * is used again, by other spec files too.
 * @returns the folder of the compiled programs
 */
export function buildPrograms(): Promise<string> {
  return (built ??= build());
}

async function build(): Promise<string> {
  const folder = join(CACHE, await hashSources());
  if (!(await exists(folder))) {
    const made = join(CACHE, `making-${process.pid}-${Date.now()}`);
    await mkdir(made, { recursive: true });
    await compile(made);
    // The programs' own package: `nest-sessions` is the library beside them.
    const manifest = { name: 'nest-sessions', type: 'module', exports: './lib/index.js' };
    await writeFile(join(made, 'package.json'), JSON.stringify(manifest));
    await publish(made, folder);
    await removeOld();
  }
  return join(folder, 'test/programs');
}

async function compile(outDir: string): Promise<void> {
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  const args = [tsc, '-p', join(ROOT, 'test/programs/tsconfig.json'), '--outDir', outDir];
  try {
    await promisify(execFile)(process.execPath, args, { cwd: ROOT });
  } catch (error) {
    throw new Error(`The programs do not compile:\n${(error as { stdout: string }).stdout}`, {
      cause: error,
    });
  }
}

/** One rename: whoever comes second, in another process, finds the first one's work. */
async function publish(made: string, folder: string): Promise<void> {
  try {
    await rename(made, folder);
  } catch (error) {
    await rm(made, { recursive: true, force: true });
    if (!(await exists(folder))) {
      throw error;
    }
  }
}

async function removeOld(): Promise<void> {
  for (const name of await readdir(CACHE)) {
    const path = join(CACHE, name);
    const stats = await stat(path).catch(() => undefined);
    if (stats && Date.now() - stats.mtimeMs > KEEP) {
      await rm(path, { recursive: true, force: true });
    }
  }
}

async function hashSources(): Promise<string> {
  const hash = createHash('sha256');
  hash.update(await readFile(join(ROOT, 'tsconfig.json')));
  for (const folder of ['lib', 'test/programs']) {
    const names = await readdir(join(ROOT, folder), { recursive: true });
    for (const name of names.filter(name => /\.(ts|json)$/.test(name)).sort()) {
      hash.update(name).update(await readFile(join(ROOT, folder, name)));
    }
  }
  return hash.digest('hex').slice(0, 16);
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );
