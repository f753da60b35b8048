import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from '../support/build-once.js';
import { buildProjectCopy } from '../support/project-copy.js';
import { memcachedServers, postgresqlUrl } from '../support/shared-servers.js';
import { isTested } from '../support/storage-names.js';

const run = promisify(execFile);

/** The last commit whose records had no format, no `lastUsedAt` and no `persistent`. */
const BEFORE = 'b471327';
const TIMES = 100;

// Needs the project's history, and builds it: `npm run test:matrix`.
describe.runIf(process.env.TEST_MATRIX)(
  'the version before, on the same storage',
  { timeout: 120_000 },
  () => {
    /** Folders of the two packages. */
    let before: string;
    let now: string;

    beforeAll(async () => {
      before = await mkdtemp(join(tmpdir(), 'nest-sessions-before-'));
      const archive = join(before, 'project.tar');
      await run('git', ['archive', '--output', archive, BEFORE], { cwd: ROOT }).catch((error: unknown) => {
        throw new Error(`The project's history is needed, to ${BEFORE}: git fetch --unshallow`, {
          cause: error,
        });
      });
      await run('tar', ['-xf', archive], { cwd: before });
      await symlink(join(ROOT, 'node_modules'), join(before, 'node_modules'), 'dir');
      const nest = join('node_modules', '@nestjs', 'cli', 'bin', 'nest.js');
      await run(process.execPath, [nest, 'build', 'nest-sessions'], { cwd: before });
      now = await buildProjectCopy();
      for (const folder of [before, now]) {
        await writeFile(join(folder, 'visits.mjs'), PROGRAM);
      }
    }, 600_000);

    afterAll(() => Promise.all([before, now].map(folder => rm(folder, { recursive: true, force: true }))));

    const visit = async (folder: string, options: object, id: string, times: number) => {
      const { stdout } = await run(
        process.execPath,
        ['visits.mjs', JSON.stringify(options), id, String(times)],
        {
          cwd: folder,
        },
      );
      return JSON.parse(stdout);
    };

    it.each(['postgresql', 'memcached'].filter(isTested))(
      'invariant 1, no lost update: processes of both work on one session at a time on %s',
      async storage => {
        const name = randomBytes(6).toString('hex');
        const options =
          storage === 'postgresql'
            ? { storageType: storage, url: await postgresqlUrl(), tableName: `sessions_${name}` }
            : { storageType: storage, servers: memcachedServers(), keyPrefix: `${name}:` };
        const { id } = await visit(before, options, '', 1);
        const [seenBefore, seenNow] = await Promise.all([
          visit(before, options, id, TIMES),
          visit(now, options, id, TIMES),
        ]);
        expect(Math.max(seenBefore.visits, seenNow.visits)).toBe(2 * TIMES + 1);
        // What the one begins, the other finds.
        const { id: later } = await visit(now, options, '', 1);
        expect((await visit(before, options, later, 1)).visits).toBe(2);
        expect((await visit(now, options, later, 1)).visits).toBe(3);
      },
    );
  },
);

/** Arguments: the storage's options, a session's id or none, how many visits it counts. */
const PROGRAM = `
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { SessionsModule, SessionStore } from './dist/index.js';

const [options, given, times] = process.argv.slice(2);
class AppModule {}
Module({ imports: [SessionsModule.forRoot(JSON.parse(options))] })(AppModule);
const app = await NestFactory.createApplicationContext(AppModule, { logger: ['error'] });
const store = app.get(SessionStore);
const id = given || (await store.create({ visits: 0 }));
for (let count = 0; count < Number(times); count++) {
  await store.update(id, session => session.set('visits', session.get('visits') + 1));
}
console.log(JSON.stringify({ id, visits: (await store.get(id)).data.visits }));
await app.close();
`;
