import { OWN } from './data.js';
import { median } from './median.js';
import type { Run } from './results.js';

/** What this package's rate is compared with. */
interface Comparison {
  storage: string;
  load: string;
  contender: string;
  /** Where it is another load than this package's. */
  otherLoad?: string;
  own?: string;
}

const FASTIFY = `${OWN}, Fastify`;
const onPeer = (storage: string, contender: string): Comparison[] => [
  { storage, load: 'read', contender },
  { storage, load: 'read-only', otherLoad: 'read', contender },
  { storage, load: 'write', contender },
];

const COMPARISONS: Comparison[] = [
  { storage: 'ram', load: 'untouched', contender: 'Nest alone' },
  { storage: 'ram', load: 'untouched', contender: 'Nest alone, Fastify', own: FASTIFY },
  { storage: 'ram', load: 'read', contender: 'Nest alone' },
  { storage: 'ram', load: 'write', contender: 'Nest alone' },
  { storage: 'ram', load: 'read', contender: 'express-session MemoryStore' },
  { storage: 'ram', load: 'write', contender: 'express-session MemoryStore' },
  { storage: 'ram', load: 'read', contender: '@fastify/session', own: FASTIFY },
  { storage: 'ram', load: 'write', contender: '@fastify/session', own: FASTIFY },
  ...onPeer('file', 'session-file-store'),
  ...onPeer('postgresql', 'connect-pg-simple'),
  { storage: 'postgresql', load: 'hot', otherLoad: 'alone', contender: OWN },
  ...onPeer('memcached', 'connect-memjs'),
];

/** The README's table: this package's rate by another's, of sessions of 1 KiB, a column each version of Node. */
export function formatSummary(runs: Record<string, Run>): string {
  const versions = Object.keys(runs);
  const line = (cells: string[]) => `| ${cells.join(' | ')} |\n`;
  const rows = COMPARISONS.map(comparison => {
    const { storage, load, contender, otherLoad } = comparison;
    const other = otherLoad === undefined ? contender : `${contender}, \`${otherLoad}\``;
    const ratios = versions.map(version => formatRatio(runs[version]!, comparison));
    return line([storage, `\`${load}\``, other, ...ratios]);
  });
  const head = ['storage', 'load', 'beside', ...versions.map(version => `Node ${version}`)];
  return line(head) + line(head.map((_, index) => (index < 3 ? '---' : '---:'))) + rows.join('');
}

function formatRatio(
  { results }: Run,
  { storage, load, contender, otherLoad = load, own = OWN }: Comparison,
): string {
  const rateOf = (name: string, ofLoad: string) =>
    results.find(
      result =>
        result.storage === storage &&
        result.size === '1 KiB' &&
        result.load === ofLoad &&
        result.contender === name,
    )?.rates;
  const [ours, theirs] = [rateOf(own, load), rateOf(contender, otherLoad)];
  return ours && theirs ? (median(ours) / median(theirs)).toFixed(2) : '';
}
