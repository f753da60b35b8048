import { randomBytes } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isLong } from '../support/long.js';
import { makeDatabase } from '../support/own-database.js';
import { memcachedServers, redisUrl } from '../support/shared-servers.js';
import { EmptyProject, packProject } from './empty-project.js';

const OPTIONAL = ['typeorm', 'pg', 'memjs', 'redis'];
const NODENEXT = ['--module', 'nodenext'];
/** Installs come from the registry. */
const INSTALL_TIME = 600_000;

/** What is printed by programs/visits.ts. */
const VISITS = '200 {"visits":1}\n200 {"visits":2}\n200 {"visits":3}\n';
const needs = (storage: string, missing: string, install: string) =>
  `SessionOptionsException: The session options are wrong:\n  - storageType '${storage}' needs ${missing}, which could not be found; run: npm install ${install}\n`;

// Takes the registry and minutes: only in the long proof.
describe.runIf(isLong)('the packed package in an empty project', { timeout: 300_000 }, () => {
  let packed: { folder: string; tarball: string };
  let storages: Record<string, object>;
  const projects: EmptyProject[] = [];

  async function makeProject(...packages: string[]): Promise<EmptyProject> {
    const project = await EmptyProject.make();
    projects.push(project);
    await project.install(packed.tarball, ...packages);
    return project;
  }

  const visit = (project: EmptyProject, file: string, storage: string) =>
    project.run(file, { SESSION_OPTIONS: JSON.stringify(storages[storage]) });

  beforeAll(async () => {
    const url = (await makeDatabase()).href;
    storages = {
      ram: {},
      file: {
        storageType: 'file',
        storagePath: join(tmpdir(), `nest-sessions-${randomBytes(6).toString('hex')}`),
      },
      postgresql: { storageType: 'postgresql', url },
      memcached: { storageType: 'memcached', servers: memcachedServers() },
      redis: { storageType: 'redis', url: redisUrl() },
    };
    packed = await packProject();
  }, INSTALL_TIME);

  afterAll(async () => {
    await Promise.all(projects.map(project => project.remove()));
    await rm(packed.folder, { recursive: true, force: true });
    await rm((storages.file as { storagePath: string }).storagePath, { recursive: true, force: true });
  });

  describe('with the newest of all it needs', () => {
    let project: EmptyProject;

    beforeAll(async () => {
      const nest = ['common', 'core', 'platform-express', 'schedule'].map(name => `@nestjs/${name}`);
      project = await makeProject(...nest, 'reflect-metadata', 'rxjs', 'typescript@6', '@types/node@20');
    }, INSTALL_TIME);

    describe('and nothing optional', () => {
      it('npm installs none of the optional packages by itself', async () => {
        expect(await Promise.all(OPTIONAL.map(name => project.has(name)))).toEqual(OPTIONAL.map(() => false));
      });

      it('its types need none of them, in ES modules and CommonJS, without skipLibCheck', async () => {
        expect(await project.compile(['visits.mts', 'visits.cts'], ...NODENEXT)).toBe('');
      });

      it.each(['mjs', 'cjs'])('starts and serves on ram and file: %s', async ext => {
        expect(await visit(project, `visits.${ext}`, 'ram')).toBe(VISITS);
        expect(await visit(project, `visits.${ext}`, 'file')).toBe(VISITS);
      });

      it.each(['mjs', 'cjs'])('names what postgresql, memcached and redis need: %s', async ext => {
        const postgresql = needs('postgresql', 'typeorm and pg', 'typeorm pg');
        expect(await visit(project, `visits.${ext}`, 'postgresql')).toBe(postgresql);
        expect(await visit(project, `visits.${ext}`, 'memcached')).toBe(needs('memcached', 'memjs', 'memjs'));
        expect(await visit(project, `visits.${ext}`, 'redis')).toBe(needs('redis', 'redis', 'redis'));
      });

      it("nest-sessions/postgresql fails with Node's own error, which names typeorm", async () => {
        await project.write(
          'import.mjs',
          `import('nest-sessions/postgresql').catch(({ code, message }) => console.log(code, message));`,
        );
        expect(await project.run('import.mjs')).toMatch(
          /^ERR_MODULE_NOT_FOUND Cannot find package 'typeorm' imported from /,
        );
      });
    });

    describe('and the optional packages', () => {
      beforeAll(() => project.install(...OPTIONAL), INSTALL_TIME);

      it.each([
        ['typeorm', 'postgresql'],
        ['pg', 'postgresql'],
        ['memjs', 'memcached'],
        ['redis', 'redis'],
      ])('without %s, names it where %s is asked for, and serves on the others', async (missing, storage) => {
        await project.without(missing, async () => {
          for (const name of Object.keys(storages)) {
            const expected = name === storage ? needs(storage, missing, missing) : VISITS;
            expect(await visit(project, 'visits.mjs', name), name).toBe(expected);
          }
        });
      });

      it('serves on all storages', async () => {
        for (const name of Object.keys(storages)) {
          expect(await visit(project, 'visits.cjs', name), name).toBe(VISITS);
        }
      });

      it("works with the application's DataSource, in ES modules and CommonJS", async () => {
        expect(await project.compile(['own-database.mts', 'own-database.cts'], ...NODENEXT)).toBe('');
        await expectOwnDatabase(project, 'own-database.mjs');
        await expectOwnDatabase(project, 'own-database.cjs');
      });
    });
  });

  describe('with the oldest of all it allows', () => {
    let project: EmptyProject;

    beforeAll(async () => {
      // TypeORM's oldest allows no client of Redis as new as the oldest here.
      const peers = (await oldestPeers()).filter(peer => !peer.startsWith('redis@'));
      const nest = peers.find(peer => peer.startsWith('@nestjs/core@'))!.replace('core', 'platform-express');
      project = await makeProject(...peers, nest, 'typescript@5.9', '@types/node@20');
    }, INSTALL_TIME);

    it('its types serve compilers that know no exports', async () => {
      const flags = ['--module', 'commonjs', '--moduleResolution', 'node10'];
      expect(await project.compile(['visits.ts', 'own-database.ts'], ...flags)).toBe('');
    });

    it('serves on all storages that it has what they need for', async () => {
      for (const name of Object.keys(storages).filter(each => each !== 'redis')) {
        expect(await visit(project, 'visits.js', name), name).toBe(VISITS);
      }
    });

    it("works with the application's DataSource", () => expectOwnDatabase(project, 'own-database.js'));
  });

  async function expectOwnDatabase(project: EmptyProject, file: string): Promise<void> {
    const { href } = await makeDatabase();
    expect(await project.run(file, { DATABASE_URL: href })).toBe('ada {"visits":7} true\n');
  }
});

/** The lowest version of each range of package.json's peerDependencies. */
async function oldestPeers(): Promise<string[]> {
  const manifest = await readFile(join(import.meta.dirname, '../../package.json'), 'utf8');
  const { peerDependencies } = JSON.parse(manifest) as { peerDependencies: Record<string, string> };
  return Object.entries(peerDependencies).map(([name, range]) => {
    const versions = range.split('||').map(part => part.trim().replace('^', ''));
    const [oldest] = versions.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
    return `${name}@${oldest}`;
  });
}
