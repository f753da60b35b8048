import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EmptyProject, packProject } from './empty-project.js';

const INSTALL_TIME = 600_000;
const WELL = '401\n201\n200 {"user":"Ann","visits":20}\n201\n401\n';
const DECORATORS = {
  parser: { syntax: 'typescript', decorators: true },
  transform: { legacyDecorator: true, decoratorMetadata: true },
  target: 'es2022',
};
const NEST = ['common', 'core', 'platform-express', 'platform-fastify', 'testing', 'schedule'];
/** How many tests of the contract suite the storage has to pass, and how many need a method that it lacks. */
const CONTRACT = 62;
const SKIPPED = 9;
const OWN_BACKEND = join(import.meta.dirname, 'sixth-storage/json.backend.ts');

/** A storage outside of the package, and its test, which uses the globals of the runner. */
async function addOwnStorage(project: EmptyProject, folder = ''): Promise<void> {
  const backend = await readFile(OWN_BACKEND, 'utf8');
  await project.write(`${folder}json.backend.ts`, backend.replace('../session-backend.js', 'nest-sessions'));
  await project.copy('own-storage.ts', `${folder}own.spec.ts`);
}

const JEST = ['jest@30', '@swc/jest', '@swc/core'];

// Takes the registry and minutes: `npm run test:matrix`.
describe.runIf(process.env.TEST_MATRIX)('the packed package in other tools', { timeout: 180_000 }, () => {
  let packed: { folder: string; tarball: string };
  const projects: EmptyProject[] = [];

  beforeAll(async () => {
    packed = await packProject();
  }, INSTALL_TIME);
  afterAll(async () => {
    await Promise.all(projects.map(project => project.remove()));
    await rm(packed.folder, { recursive: true, force: true });
  });

  const makeProject = async (version: string, ...tools: string[]) => {
    const project = await EmptyProject.make();
    projects.push(project);
    const schedule = version === '11' ? '6' : version;
    const nest = NEST.map(name => `@nestjs/${name}@${name === 'schedule' ? schedule : version}`);
    await project.install(packed.tarball, ...nest, 'reflect-metadata', 'rxjs', ...tools);
    return project;
  };

  it('SWC: an application that it has compiled serves', { timeout: INSTALL_TIME }, async () => {
    const project = await makeProject('12', '@swc/core', '@swc/cli');
    await project.copy('smoke.ts', 'src/smoke.ts');
    await project.write('.swcrc', JSON.stringify({ jsc: DECORATORS, module: { type: 'nodenext' } }));
    await project.write('package.json', JSON.stringify({ ...(await project.manifest()), type: 'module' }));
    await project.bin('swc', 'src', '--out-dir', 'out', '--strip-leading-paths');
    expect(await project.run(join('out', 'smoke.js'))).toBe(WELL);
  });

  it('node:test, ES modules and CommonJS: the contract suite', { timeout: INSTALL_TIME }, async () => {
    const project = await makeProject('12', '@swc/core', '@swc/cli');
    await addOwnStorage(project, 'src/');
    const env = { VITEST: '', NODE_OPTIONS: '--test-reporter=tap' }; // it is not a part of this run
    for (const type of ['nodenext', 'commonjs']) {
      await project.write('.swcrc', JSON.stringify({ jsc: DECORATORS, module: { type } }));
      const kind = type === 'commonjs' ? type : 'module';
      await project.write('package.json', JSON.stringify({ ...(await project.manifest()), type: kind }));
      await project.bin('swc', 'src', '--out-dir', type, '--strip-leading-paths');
      expect(await project.run(join(type, 'own.spec.js'), env)).toContain(`# pass ${CONTRACT}\n`);
    }
  });

  it('vitest: Test.createTestingModule() and overrideProvider()', { timeout: INSTALL_TIME }, async () => {
    const project = await makeProject('12', 'vitest@4');
    await project.copy('in-runner.ts', 'app.spec.ts');
    await project.write(
      'vitest.config.mjs',
      `export default { oxc: { decorator: { legacy: true, emitDecoratorMetadata: true } }, test: { globals: true } };`,
    );
    await addOwnStorage(project);
    expect(await project.bin('vitest', 'run', '--reporter=json')).toContain(
      `"numPassedTests":${2 + CONTRACT}`,
    );
  });

  it.each([
    {
      way: 'ES modules, Nest 12',
      version: '12',
      type: 'es6',
      files: '[.]ts$',
      settings: { extensionsToTreatAsEsm: ['.ts'] },
      nodeOptions: '--experimental-vm-modules --no-warnings',
    },
    {
      way: 'CommonJS, Nest 11, this package among what is transformed',
      version: '11',
      type: 'commonjs',
      files: '[.][tj]s$',
      settings: { transformIgnorePatterns: ['node_modules/(?!(nest-sessions|cookie)/)'] },
      nodeOptions: '',
    },
  ])(
    'jest, $way: the same',
    { timeout: INSTALL_TIME },
    async ({ version, type, files, settings, nodeOptions }) => {
      const project = await makeProject(version, ...JEST);
      await project.copy('in-runner.ts', 'app.spec.ts');
      const swc = { jsc: DECORATORS, module: { type } };
      // Jest looks for no .ts where .js is asked for.
      const moduleNameMapper = { '^(./json.backend).js$': '$1' };
      const config = { ...settings, moduleNameMapper, transform: { [files]: ['@swc/jest', swc] } };
      await project.write('jest.config.json', JSON.stringify(config));
      await addOwnStorage(project);
      expect(await project.binWith({ NODE_OPTIONS: nodeOptions }, 'jest', '--json', '--silent')).toContain(
        `"numPassedTests":${2 + CONTRACT + SKIPPED}`,
      );
    },
  );
});
