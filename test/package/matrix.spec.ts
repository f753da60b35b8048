import { rm } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EmptyProject, packProject } from './empty-project.js';

/** What programs/smoke.ts prints where all is well. */
const WELL = '401\n201\n200 {"user":"Ann","visits":20}\n201\n401\n';
const INSTALL_TIME = 600_000;

const NESTS: Record<string, string[]> = {
  'Nest 11': ['common@11', 'core@11', 'platform-express@11', 'platform-fastify@11', 'schedule@6'],
  'Nest 12': ['common@12', 'core@12', 'platform-express@12', 'platform-fastify@12', 'schedule@12'],
};
const NODES = ['20', '22', '24', '26'];

// Takes the registry and minutes: `npm run test:matrix`.
describe.runIf(process.env.TEST_MATRIX)('the packed package, installed', { timeout: 120_000 }, () => {
  let packed: { folder: string; tarball: string };
  let nodes: EmptyProject[];
  const projects: EmptyProject[] = [];

  const makeProject = async (...packages: string[]) => {
    const project = await EmptyProject.make();
    projects.push(project);
    await project.install(...packages);
    return project;
  };

  beforeAll(async () => {
    packed = await packProject();
    // npm's package `node` brings the binary.
    nodes = await Promise.all(NODES.map(version => makeProject(`node@${version}`)));
  }, INSTALL_TIME);

  afterAll(async () => {
    await Promise.all(projects.map(project => project.remove()));
    await rm(packed.folder, { recursive: true, force: true });
  });

  describe.each(Object.keys(NESTS))('%s', nest => {
    let project: EmptyProject;

    beforeAll(async () => {
      const packages = NESTS[nest]!.map(name => `@nestjs/${name}`);
      project = await makeProject(
        packed.tarball,
        ...packages,
        'reflect-metadata',
        'rxjs',
        'typescript@6',
        '@types/node@20',
      );
    }, INSTALL_TIME);

    it('compiles, in ES modules and CommonJS, without skipLibCheck', async () => {
      expect(await project.compile(['smoke.mts', 'smoke.cts'], '--module', 'nodenext')).toBe('');
    });

    const cells = NODES.flatMap((node, index) =>
      ['mjs', 'cjs'].flatMap(format =>
        ['express', 'fastify'].map(adapter => ({ node, index, format, adapter })),
      ),
    );
    it.each(cells)(
      'on Node $node, $format, $adapter: logs in, loses nothing in a race, logs out',
      async ({ node, index, format, adapter }) => {
        const { version, out } = await project.runOn(nodes[index]!, `smoke.${format}`, { ADAPTER: adapter });
        expect(version).toMatch(new RegExp(`^v${node}\\.`));
        expect(out).toBe(WELL);
      },
    );
  });
});
