import { execFile } from 'node:child_process';
import { appendFile, cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { copyProject } from '../support/project-copy.js';

const run = promisify(execFile);
const FILES = ['json.backend.ts', 'json.storage.ts', 'json.contract.ts', 'options.types.ts'];
const LINE = `export { json } from './json/json.storage.js';\n`;

/** What a program prints, whether it fails or not; not as a part of this run. */
const print = (args: string[], folder: string): Promise<string> =>
  run(process.execPath, args, { cwd: folder, env: { PATH: process.env.PATH } }).then(
    ({ stdout }) => stdout,
    (error: { stdout: string; stderr: string }) => error.stdout + error.stderr,
  );

describe('a storage is one folder and one line', { timeout: 180_000 }, () => {
  let project: string;
  const compile = () => print(['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], project);

  beforeAll(async () => {
    project = await copyProject();
    for (const file of FILES) {
      await cp(join(import.meta.dirname, 'sixth-storage', file), join(project, 'lib/storage/json', file));
    }
  });
  afterAll(() => rm(project, { recursive: true }));

  it('without the line, its name and its options are no options', async () => {
    const errors = await compile();
    expect(errors).toContain('json.contract.ts');
    expect(errors).toContain('options.types.ts');
    expect(errors).not.toMatch(/^(?!lib\/storage\/json\/).*error TS/m);
  });

  describe('with the line', () => {
    beforeAll(() => appendFile(join(project, 'lib/storage/storages.ts'), LINE));

    it('its options compile with its storageType alone, and wrong ones do not', async () => {
      expect(await compile()).toBe('');
    });

    it('its options are checked at the start, by name', async () => {
      await writeFile(
        join(project, 'dist/start.js'),
        `import 'reflect-metadata';
        import { SessionsModule } from './index.js';
        import { NestFactory } from '@nestjs/core';
        import { Module } from '@nestjs/common';
        const start = options =>
          NestFactory.createApplicationContext(SessionsModule.forRoot(options), { logger: false, abortOnError: false });
        for (const options of [{ storageType: 'json' }, { folder: 'x' }, { storageType: 'json', folder: 'made', indent: 11 }]) {
          await start(options).catch(({ problems }) => console.log(problems.join()));
        }
        await (await start({ storageType: 'json', folder: 'made' })).close();`,
      );
      expect(await print(['dist/start.js'], project)).toBe(
        [
          `folder is missing; storageType 'json' needs a folder, e.g. folder: './sessions'`,
          `folder goes with storageType 'json'; set that, or remove folder`,
          'indent must be a whole number of at least 0 and at most 10 (spaces), not 11\n',
        ].join('\n'),
      );
    });

    it('it passes the contract suite, in node:test', async () => {
      const report = await print(
        ['--test', '--test-reporter=tap', 'dist/storage/json/json.contract.js'],
        project,
      );
      expect(report).toContain('# pass 62\n');
      expect(report).toContain('# fail 0\n');
      expect(report).toContain('# skipped 9\n'); // it keeps no owner to a limit
    });

    it('nor does the suite pass in node:test where the storage is wrong', async () => {
      const file = join(project, 'dist/storage/json/json.backend.js');
      const text = await readFile(file, 'utf8');
      await writeFile(file, text.replace(`return 'busy';`, ''));
      const report = await print(
        ['--test', '--test-reporter=tap', 'dist/storage/json/json.contract.js'],
        project,
      );
      await writeFile(file, text);
      expect(report).toMatch(/# fail [1-9]/);
    });
  });
});
