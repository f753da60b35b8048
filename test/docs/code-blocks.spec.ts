import type { Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { memcachedServers, postgresqlUrl, redisUrl } from '../support/shared-servers.js';

const ROOT = join(import.meta.dirname, '../..');
/** In the project, so that its packages are found from there. */
const FOLDER = join(import.meta.dirname, `.blocks-${process.pid}`);

interface Page {
  name: string;
  folder: string;
  files: string[];
}

/** Writes the page's TypeScript blocks to files; one that begins with `// name.ts` has that name. */
async function extract(page: string): Promise<Page> {
  const text = await readFile(join(ROOT, page), 'utf8');
  const name = basename(page, '.md');
  const folder = join(FOLDER, name);
  await mkdir(folder, { recursive: true });
  // What `nest new` makes, and the pages build on.
  await writeFile(
    join(folder, 'app.service.ts'),
    "export class AppService { getHello(): string { return 'Hello World!'; } }",
  );
  // What docs/storages.md shows the use of.
  const backend = await readFile(join(ROOT, 'test/package/sixth-storage/json.backend.ts'), 'utf8');
  await writeFile(join(folder, 'json.backend.ts'), backend.replace('../session-backend.js', 'nest-sessions'));
  const files: string[] = [];
  for (const [, block] of text.matchAll(/^ *```ts\n([\s\S]*?)^ *```$/gm)) {
    const own = /^\s*\/\/ (\S+\.ts)\n/.exec(block!)?.[1];
    const file = join(folder, own ?? `block-${files.length + 1}.ts`);
    await writeFile(file, block!);
    files.push(file);
  }
  return { name, folder, files };
}

const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile);
const options = { ...ts.parseJsonConfigFileContent(config, ts.sys, ROOT).options, noUnusedLocals: false };
/** Of the page before: what it has read of the package and its dependencies is not read again. */
let program: ts.Program | undefined;

/** @returns the compiler's errors: a page is one application */
function compile({ files }: Page): string {
  const compiled = ts.createProgram(files, options, undefined, program);
  program = compiled;
  // Of its own files: the package's have been compiled by `npm run typecheck`.
  const errors = files.flatMap(file => ts.getPreEmitDiagnostics(compiled, compiled.getSourceFile(file)));
  return ts.formatDiagnostics(errors, {
    getCanonicalFileName: name => name,
    getCurrentDirectory: () => FOLDER,
    getNewLine: () => '\n',
  });
}

const pages = ['README.md', ...(await readdir(join(ROOT, 'docs'))).sort().map(file => `docs/${file}`)].filter(
  page => page.endsWith('.md'),
);

describe.each(pages)('the code of %s', name => {
  let page: Page;

  beforeAll(async () => {
    page = await extract(name);
    process.env.DATABASE_URL = await postgresqlUrl();
    process.env.MEMCACHED_SERVERS = memcachedServers();
    process.env.REDIS_URL = redisUrl();
  });
  afterAll(() => rm(page.folder, { recursive: true, force: true }));

  it('compiles', () => {
    expect(compile(page)).toBe('');
  });

  it('runs, and its modules start as applications', async () => {
    const folder = process.cwd();
    // Tests are run by a runner: those here, by test/package/sixth-storage.spec.ts and toolchains.spec.ts.
    for (const file of page.files.filter(name => !name.endsWith('.spec.ts'))) {
      const exported: { AppModule?: Type } = await import(file);
      if (exported.AppModule) {
        process.chdir(page.folder); // for './sessions'
        try {
          const app = await NestFactory.create(exported.AppModule, { logger: false, abortOnError: false });
          await app.init();
          await app.close();
        } finally {
          process.chdir(folder);
        }
      }
    }
  });
});
