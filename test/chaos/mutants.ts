import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildPrograms } from '../support/build-programs.js';
import { runChaos } from './run.js';
import { MUTANTS, type Mutant } from './mutant-table.js';

/**
 * What chaos proves is what it catches: faults are put into a copy of the built package, and each must be caught.
 * `npm run chaos:mutants -- --only <text>` takes those whose storage and name hold it, `--tell` prints what caught each.
 */
const { values } = parseArgs({
  options: { only: { type: 'string', default: '' }, tell: { type: 'boolean', default: false } },
});

const programs = await buildPrograms();
const built = join(programs, '../..');
const chosen = MUTANTS.filter(({ name, storage }) => `${storage}: ${name}`.includes(values.only));
const escaped: string[] = [];
for (const mutant of chosen) {
  const { name, storage, seed, seconds, profile } = mutant;
  const folder = `${built}.mutant-${process.pid}`;
  const startedAt = performance.now();
  try {
    cpSync(built, folder, { recursive: true });
    mutate(folder, mutant);
    const { stories } = await runChaos({ storage, seed, seconds, profile }, join(folder, 'test/programs'));
    const took = `${Math.round((performance.now() - startedAt) / 1000)} s`;
    const broken = new Set(stories.map(story => /^BROKEN: (.*?):/.exec(story)?.[1] ?? story));
    const how = [...broken].join('; ') || 'ESCAPED';
    console.log(`| ${storage} | ${name} | ${profile}, seed ${seed} | ${took} | ${how} |`);
    if (values.tell) {
      console.log(stories.join('\n\n'));
    }
    if (stories.length === 0) {
      escaped.push(`${storage}: ${name}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
console.log(`${chosen.length - escaped.length} of ${chosen.length} mutants were caught`);
process.exit(escaped.length > 0 || chosen.length === 0 ? 1 : 0);

/** @throws if a text is not there, or there more than once */
function mutate(folder: string, { name, patches }: Mutant): void {
  for (const { file, from, to } of patches) {
    const path = join(folder, 'lib', file);
    const parts = readFileSync(path, 'utf8').split(from);
    if (parts.length !== 2) {
      throw new Error(`Mutant '${name}': ${file} holds ${parts.length - 1} times\n${from}`);
    }
    writeFileSync(path, parts.join(to));
  }
}
