import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OWN, type Adapter } from './contenders.js';

export interface Result {
  storage: string;
  size: string;
  load: string;
  contender: string;
  adapter: Adapter;
  /** Requests a second, round by round. */
  rates: number[];
}

/** One run of the bench: what it ran on, and what it measured. */
export interface Run {
  command: string;
  versions: Record<string, string>;
  results: Result[];
}

const FOLDER = resolve(fileURLToPath(import.meta.url), '../../..');
const NUMBERS = join(FOLDER, 'results.json');

export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Keeps the numbers of a run in bench/results.json, one of each major version of Node, and writes bench/results.md. */
export function saveRun(run: Run): void {
  const runs: Record<string, Run> = existsSync(NUMBERS) ? JSON.parse(readFileSync(NUMBERS, 'utf8')) : {};
  runs[run.versions.node!.split('.')[0]!] = run;
  writeFileSync(NUMBERS, `${JSON.stringify(runs, undefined, 1)}\n`);
  const sections = Object.values(runs).map(formatRun);
  writeFileSync(join(FOLDER, 'results.md'), `${INTRODUCTION}\n${sections.join('\n')}`);
}

const INTRODUCTION = `# Results of the bench

Requests a second (medians); behind a peer's, in brackets, how many times that this package's is. Made by \`npm run bench -- --save\`; see [README.md](README.md) for what is measured.
Only the ratios mean anything: they are of one run, on one machine, in which the contenders took turns.
`;

function formatRun({ command, versions, results }: Run): string {
  const list = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const titleOf = ({ storage, size }: Result) => `${storage}, sessions of ${size}`;
  const titles = [...new Set(results.map(titleOf))];
  const tables = titles.map(title => {
    const table = formatTable(results.filter(result => titleOf(result) === title));
    return `### ${title}\n\n${table}`;
  });
  return `## Node ${versions.node}\n\n\`${command}\`: ${list.join(', ')}.\n\n${tables.join('\n')}`;
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
