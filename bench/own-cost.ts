import { BEFORE, FLOOR, OWN } from './data.js';
import { formatSpread, median } from './median.js';
import type { Result, Run } from './results.js';

/** The peers beside which the session's own cost is shown, and the loads; where it is `read-only`, they `read`. */
export const RIVALS: Record<string, string[]> = {
  'express-session MemoryStore': ['read', 'write'],
  '@fastify/session': ['read', 'write'],
  'session-file-store': ['read', 'write'],
  'connect-pg-simple': ['read', 'write'],
  'connect-memjs': ['read-only', 'write'],
};

/** Results of the same rounds. */
interface Comparison {
  own: Result;
  /** A peer's, or this package's in another version. */
  other: Result;
  floor: Result | undefined;
}

function compare(results: Result[]): Comparison[] {
  return results
    .filter(({ contender, load }) => RIVALS[contender]?.includes(load) || contender.endsWith(BEFORE))
    .flatMap(other => {
      const find = (prefix: string) =>
        results.find(
          ({ storage, size, load, adapter, contender }) =>
            storage === other.storage &&
            size === other.size &&
            load === other.load &&
            adapter === other.adapter &&
            contender.startsWith(prefix) &&
            !contender.endsWith(BEFORE),
        );
      const own = find(OWN);
      return own ? [{ own, other, floor: find(FLOOR) }] : [];
    });
}

/** What the session adds to the CPU time of a request, as a share of what the other's adds. */
const formatShare = ({ own, other, floor }: Comparison): string =>
  floor ? formatSpread(own.cpu.map((cpu, i) => (cpu - floor.cpu[i]!) / (other.cpu[i]! - floor.cpu[i]!))) : '';

const formatRatio = (own: number[], other: number[]): string =>
  formatSpread(own.map((value, i) => value / other[i]!));

const nameOf = ({ contender, load }: Result): string =>
  load === 'read-only' && !contender.startsWith(OWN) ? `${contender}, \`read\`` : contender;

/** A row a comparison: medians over the rounds, and the ratios of each round; empty if there is none. */
export function formatOwnCost(results: Result[]): string {
  const head = ['requests a second', 'ratio', 'CPU µs a request', 'ratio', 'own cost'];
  const rows = compare(results).map(comparison => {
    const { own, other, floor } = comparison;
    const formatMedians = (key: 'rates' | 'cpu') =>
      [floor, own, other].map(result => (result ? median(result[key]).toFixed(0) : '–')).join(' / ');
    return [own.storage, own.size, `\`${own.load}\``, nameOf(other)].concat(
      [formatMedians('rates'), formatRatio(own.rates, other.rates)],
      [formatMedians('cpu'), formatRatio(own.cpu, other.cpu), formatShare(comparison)],
    );
  });
  return formatRows(['storage', 'size', 'load', 'beside'], head, rows);
}

/** The README's table: the own cost beside the peers, a column each version of Node. */
export function formatOwnCostSummary(runs: Record<string, Run>): string {
  const versions = Object.keys(runs);
  const rows = new Map<string, string[]>();
  for (const [index, { results }] of Object.values(runs).entries()) {
    for (const comparison of compare(results).filter(({ other }) => !other.contender.endsWith(BEFORE))) {
      const first = [comparison.own.storage, `\`${comparison.own.load}\``, nameOf(comparison.other)];
      const row = rows.get(first.join()) ?? first.concat(versions.map(() => ''));
      row[first.length + index] = formatShare(comparison);
      rows.set(first.join(), row);
    }
  }
  const head = versions.map(version => `Node ${version}`);
  return formatRows(['storage', 'load', 'own cost beside'], head, [...rows.values()]);
}

/** Columns of words, then of numbers; padded, so that it can be read in a terminal too. */
function formatRows(words: string[], numbers: string[], rows: string[][]): string {
  const head = [...words, ...numbers];
  const widths = head.map((_, index) => Math.max(...[head, ...rows].map(cells => cells[index]!.length)));
  const line = (cells: string[]) => `| ${cells.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |\n`;
  const rule = line([...words.map(() => '---'), ...numbers.map(() => '---:')]);
  return rows.length > 0 ? line(head) + rule + rows.map(line).join('') : '';
}
