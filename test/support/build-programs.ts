import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildOnce, ROOT } from './build-once.js';

const SOURCES = ['tsconfig.json', 'lib', 'test/programs'];

let built: Promise<string> | undefined;

/**
 * Compiles lib/ and test/programs/ to JavaScript that plain node runs.
 * @returns the folder of the compiled programs
 */
export async function buildPrograms(): Promise<string> {
  built ??= buildOnce('programs', SOURCES, async folder => {
    await compile(folder);
    // The programs' own package: `nest-sessions` is the library beside them.
    const manifest = { name: 'nest-sessions', type: 'module', exports: './lib/index.js' };
    await writeFile(join(folder, 'package.json'), JSON.stringify(manifest));
  });
  return join(await built, 'test/programs');
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
