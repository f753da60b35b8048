import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { buildProjectCopy } from '../support/project-copy.js';

const run = promisify(execFile);
const PROGRAMS = join(import.meta.dirname, 'programs');

/** @returns the folder of the project that was packed, and the packed file in it */
export async function packProject(): Promise<{ folder: string; tarball: string }> {
  const folder = await buildProjectCopy();
  const { stdout } = await run('npm', ['pack', '--silent', '--prefix', folder], { cwd: folder });
  return { folder, tarball: join(folder, stdout.trim()) };
}

/** A project in a temporary folder, as one who installs the package has it. */
export class EmptyProject {
  private constructor(private readonly folder: string) {}

  static async make(): Promise<EmptyProject> {
    const folder = await mkdtemp(join(tmpdir(), 'nest-sessions-consumer-'));
    await writeFile(join(folder, 'package.json'), '{ "private": true }');
    return new EmptyProject(folder);
  }

  /** By npm, from its registry. */
  async install(...packages: string[]): Promise<void> {
    // --prefix: within `npm test`, npm takes the tests' own project for the one that is meant.
    const flags = ['--prefix', this.folder, '--no-audit', '--no-fund', '--prefer-offline'];
    await run('npm', ['install', ...flags, ...packages], { cwd: this.folder });
  }

  has(name: string): Promise<boolean> {
    return stat(join(this.folder, 'node_modules', name)).then(
      () => true,
      () => false,
    );
  }

  /** As if the package had not been installed. */
  async without(name: string, use: () => Promise<void>): Promise<void> {
    const installed = join(this.folder, 'node_modules', name);
    const hidden = join(this.folder, name);
    await rename(installed, hidden);
    try {
      await use();
    } finally {
      await rename(hidden, installed);
    }
  }

  /**
   * Compiles programs of programs/: `.mts` is an ES module, `.cts` CommonJS, `.ts` what the flags say.
   * @returns the compiler's errors
   */
  async compile(files: string[], ...flags: string[]): Promise<string> {
    for (const file of files) {
      await cp(join(PROGRAMS, file.replace(/[cm]ts$/, 'ts')), join(this.folder, file));
    }
    const tsc = join('node_modules', 'typescript', 'bin', 'tsc');
    const options = ['--target', 'es2023', '--types', 'node', '--strict', '--skipLibCheck', 'false'];
    const args = [tsc, ...files, ...options, '--experimentalDecorators', '--emitDecoratorMetadata', ...flags];
    return run(process.execPath, args, { cwd: this.folder }).then(
      ({ stdout }) => stdout,
      (error: { stdout: string }) => error.stdout,
    );
  }

  /** @returns what a script prints */
  run(file: string, env: Record<string, string> = {}): Promise<string> {
    return this.runWith(process.execPath, file, env);
  }

  /** With the Node.js that another project has installed from npm. */
  async runOn(
    { folder }: EmptyProject,
    file: string,
    env: Record<string, string>,
  ): Promise<{ version: string; out: string }> {
    const node = join(folder, 'node_modules', 'node', 'bin', 'node');
    return { version: await this.runWith(node, '--version'), out: await this.runWith(node, file, env) };
  }

  private async runWith(node: string, file: string, env: Record<string, string> = {}): Promise<string> {
    const options = { cwd: this.folder, env: { ...process.env, ...env }, timeout: 120_000 };
    return (await run(node, [file], options)).stdout;
  }

  /** What a program that the project has installed prints. */
  bin(name: string, ...args: string[]): Promise<string> {
    return this.binWith({}, name, ...args);
  }

  async binWith(env: Record<string, string>, name: string, ...args: string[]): Promise<string> {
    const program = join(this.folder, 'node_modules', '.bin', name);
    const options = { cwd: this.folder, env: { ...process.env, ...env }, timeout: 120_000 };
    return run(program, args, options).then(
      ({ stdout }) => stdout,
      (error: { stdout: string; stderr: string }) => `${error.stdout}\n${error.stderr}`,
    );
  }

  /** A program of programs/. */
  async copy(program: string, file: string): Promise<void> {
    await cp(join(PROGRAMS, program), join(this.folder, file));
  }

  async manifest(): Promise<object> {
    return JSON.parse(await readFile(join(this.folder, 'package.json'), 'utf8'));
  }

  async write(file: string, text: string): Promise<void> {
    await mkdir(dirname(join(this.folder, file)), { recursive: true });
    await writeFile(join(this.folder, file), text);
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}
