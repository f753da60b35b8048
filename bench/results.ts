import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CONTENDERS, STORAGES, type Adapter, type Storage } from './contenders.js';
import { BEFORE, LOADS, OWN, SIZES } from './data.js';
import { median } from './median.js';
import { formatOwnCost, formatOwnCostSummary } from './own-cost.js';
import { formatSummary } from './summary.js';

export interface Result {
  storage: string;
  size: string;
  load: string;
  contender: string;
  adapter: Adapter;
  /** Requests a second, round by round. */
  rates: number[];
  /** Microseconds of the server's CPU time a request, round by round. */
  cpu: number[];
}

/** One run of the bench: what it ran on, and what it measured. */
export interface Run {
  /** How it was started; several times, where a part was measured again. */
  commands: string[];
  versions: Record<string, string>;
  results: Result[];
}

/** What bench/results.json keeps: the last run of each major version of Node, and the last tables of the other scripts. */
interface Saved {
  runs: Record<string, Run>;
  /** Those of `--own-cost`. */
  ownCost?: Record<string, Run>;
  tables: Record<string, string[]>;
}

const ROOT = resolve(fileURLToPath(import.meta.url), '../../../..');
const NUMBERS = join(ROOT, 'bench/results.json');
const README = join(ROOT, 'README.md');

/** Where a result stands in the tables. */
const placeOf = ({ storage, size, load, contender, adapter }: Result): number =>
  [
    STORAGES.indexOf(storage as Storage),
    Object.keys(SIZES).indexOf(size),
    LOADS.indexOf(load),
    CONTENDERS.findIndex(
      each =>
        each.name === contender.replace(BEFORE, '') &&
        each.adapter === adapter &&
        (each.storage === undefined || each.storage === storage),
    ),
  ].reduce((place, index) => place * 100 + index, 0);

/** Keeps the numbers of a run, instead of those of the last one of the same loads on the same major version of Node. */
export function saveRun(run: Run, kind: 'runs' | 'ownCost'): void {
  save(saved => {
    const runs = (saved[kind] ??= {});
    const major = run.versions.node!.split('.')[0]!;
    const last = runs[major];
    const loadOf = ({ storage, size, load }: Result) => `${storage} ${size} ${load}`;
    const measured = new Set(run.results.map(loadOf));
    const kept = (last?.results ?? []).filter(result => !measured.has(loadOf(result)));
    const earlier = kept.length > 0 ? last!.commands.filter(command => !run.commands.includes(command)) : [];
    const results = [...kept, ...run.results].sort((a, b) => placeOf(a) - placeOf(b));
    runs[major] = { ...run, commands: [...earlier, ...run.commands], results };
  });
}

/** Prints the lines of a table as they come; with `--save`, keeps them. */
export class Table {
  private readonly lines: string[] = [];

  constructor(private readonly title: string) {}

  add(...cells: unknown[]): void {
    const line = `| ${cells.join(' | ')} |`;
    console.log(line);
    this.lines.push(line);
    if (this.lines.length === 1) {
      this.add(...cells.map(() => '---'));
    }
  }

  end(): void {
    if (process.argv.includes('--save')) {
      save(saved => {
        saved.tables[`${this.title}, Node ${process.versions.node.split('.')[0]}`] = this.lines;
      });
    }
  }
}

/** Changes bench/results.json, and writes what is made of it: bench/results.md, and the table in the README. */
function save(change: (saved: Saved) => void): void {
  const saved: Saved = existsSync(NUMBERS)
    ? JSON.parse(readFileSync(NUMBERS, 'utf8'))
    : { runs: {}, tables: {} };
  change(saved);
  writeFileSync(NUMBERS, `${JSON.stringify(saved, undefined, 1)}\n`);
  const ownCost = saved.ownCost ?? {};
  const runs = [...Object.values(saved.runs).map(formatRun), ...Object.values(ownCost).map(formatOwnCostRun)];
  const tables = Object.entries(saved.tables).map(([title, lines]) => `## ${title}\n\n${lines.join('\n')}\n`);
  writeFileSync(join(ROOT, 'bench/results.md'), [INTRODUCTION, ...runs, ...tables].join('\n'));
  const readme = readFileSync(README, 'utf8');
  const races = saved.tables[Object.keys(saved.tables).find(title => title.startsWith('Races')) ?? ''] ?? [];
  const summaries = [formatSummary(saved.runs), formatOwnCostSummary(ownCost), `${races.join('\n')}\n`];
  const shown = summaries.filter(Boolean).join('\n');
  writeFileSync(
    README,
    readme.replace(/<!-- bench -->[^]*<!-- \/bench -->/, () => `<!-- bench -->\n\n${shown}\n<!-- /bench -->`),
  );
}

const INTRODUCTION = `# Results of the bench

Requests a second (medians); behind a peer's, in brackets, how many times that this package's is. Made by \`npm run bench -- --save\`; see [README.md](README.md) for what is measured.
Only the ratios mean anything: they are of one run, on one machine, in which the contenders took turns.
Own cost: what this package's session adds to the CPU time of a request, as a share of what the other's adds. Where three numbers stand together, they are of Nest alone, of this package and of what it is beside; in brackets are the quartiles over the rounds.
`;

function formatRun(run: Run): string {
  const { versions, results } = run;
  const titleOf = ({ storage, size }: Result) => `${storage}, sessions of ${size}`;
  const titles = [...new Set(results.map(titleOf))];
  const tables = titles.map(title => {
    const table = formatTable(results.filter(result => titleOf(result) === title));
    return `### ${title}\n\n${table}`;
  });
  return `## Node ${versions.node}\n\n${originOf(run)}\n\n${tables.join('\n')}`;
}

const formatOwnCostRun = (run: Run): string =>
  `## Own cost, Node ${run.versions.node}\n\n${originOf(run)}\n\n${formatOwnCost(run.results)}`;

function originOf({ commands, versions }: Run): string {
  const list = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return `${commands.map(command => `\`${command}\``).join(', then ')}: ${list.join(', ')}.`;
}

/** A row a load, a column a contender; behind a peer's rate, how many times it this package's is. */
function formatTable(results: Result[]): string {
  const contenders = [...new Set(results.map(({ contender }) => contender))];
  const loads = [...new Set(results.map(({ load }) => load))];
  const formatCell = (load: string, contender: string): string => {
    const result = results.find(each => each.load === load && each.contender === contender);
    if (!result) {
      return '';
    }
    const rate = median(result.rates);
    const own = results.find(
      each => each.load === load && each.adapter === result.adapter && each.contender.startsWith(OWN),
    );
    const ratio = own && own !== result ? ` (${(median(own.rates) / rate).toFixed(2)})` : '';
    return `${Math.round(rate)}${ratio}`;
  };
  const line = (first: string, cells: string[]) => `| ${first} | ${cells.join(' | ')} |\n`;
  const head = line('load', contenders) + line('---', Array(contenders.length).fill('---:'));
  const rows = loads.map(load =>
    line(
      load,
      contenders.map(contender => formatCell(load, contender)),
    ),
  );
  return head + rows.join('');
}
