import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { startMemcachedServer, startPostgresqlServer } from '../test/support/servers.js';
import { Server } from './bench-server.js';
import { CONTENDERS, STORAGES, withBefore, type Contender } from './contenders.js';
import { LOADS, OWN, SIZES, type Size } from './data.js';
import { median } from './median.js';
import { formatOwnCost, RIVALS } from './own-cost.js';
import { saveRun, type Result } from './results.js';

const CONNECTIONS = 50;
/** Requests that each contender answers before it is measured, in seconds of load. */
const WARM_UP = 2;

/** Only what the table of own cost needs. */
const ownCost = process.argv.includes('--own-cost');
const { values: options } = parseArgs({
  options: {
    'own-cost': { type: 'boolean' },
    before: { type: 'string' },
    rounds: { type: 'string', default: ownCost ? '9' : '5' },
    seconds: { type: 'string', default: ownCost ? '1' : '2' },
    storages: { type: 'string', default: STORAGES.join() },
    loads: { type: 'string', default: LOADS.join() },
    sizes: { type: 'string', default: ownCost ? '1 KiB' : Object.keys(SIZES).join() },
    save: { type: 'boolean', default: false },
  },
});
const rounds = Number(options.rounds);
const seconds = Number(options.seconds);
const loads = options.loads.split(',');
const contenders = options.before === undefined ? CONTENDERS : withBefore(options.before);

const [postgresql, memcached] = await Promise.all([
  startPostgresqlServer(),
  startMemcachedServer(['-m', '1024']),
]);
const places = { postgresqlUrl: postgresql.url, memcachedServers: memcached.address };
const results: Result[] = [];
try {
  for (const storage of options.storages.split(',')) {
    for (const size of options.sizes.split(',') as Size[]) {
      await compare(storage, size);
    }
  }
} finally {
  await Promise.all([postgresql.close(), memcached.close()]);
}
const versions = { node: process.versions.node, ...versionsOfPackages() };
console.log(JSON.stringify(versions), `${cpus().length} cores`);
console.log(formatOwnCost(results));
if (options.save) {
  const command = ['npm run bench --', ...process.argv.slice(2)].join(' ');
  const run = { commands: [command], versions: { ...versions, cores: String(cpus().length) }, results };
  saveRun(run, ownCost ? 'ownCost' : 'runs');
}

/** All contenders of a storage, round by round, so that a noisy machine hurts all alike. */
async function compare(storage: string, size: Size): Promise<void> {
  const withSessions = contenders.filter(
    each => each.storage === storage && (!ownCost || each.peer === undefined || each.name in RIVALS),
  );
  const alone = contenders.filter(
    each =>
      each.storage === undefined &&
      (ownCost || (storage === 'ram' && size === '1 KiB')) &&
      withSessions.some(({ adapter }) => adapter === each.adapter),
  );
  const competing = [...alone, ...withSessions];
  const servers = await Promise.all(competing.map(contender => Server.start(contender, places)));
  try {
    const cookies = new Map<Server, string[]>();
    for (const server of servers) {
      const seeded = server.contender.storage ? await server.seed(CONNECTIONS, SIZES[size]) : [];
      cookies.set(server, seeded.length > 0 ? seeded : [`session_id=${'x'.repeat(43)}`]);
    }
    for (const load of loads.filter(load =>
      ownCost
        ? competing.some(({ name }) => RIVALS[name]?.includes(load))
        : size === '1 KiB' || ['read', 'read-only', 'write'].includes(load),
    )) {
      const able = servers.filter(({ contender }) => canRun(contender, load));
      const measured = new Map(able.map(server => [server, { rates: [] as number[], cpu: [] as number[] }]));
      for (let round = 0; round <= rounds; round++) {
        // Back and forth, so that nobody always follows the same one.
        for (const server of round % 2 === 0 ? able : able.toReversed()) {
          const { path, ...order } = orderOf(server, load, cookies.get(server)!);
          const duration = round === 0 ? WARM_UP : seconds;
          const { rate, failures, cpu } = await server.run(path, { ...order, duration });
          if (failures > 0) {
            console.warn(`${server.contender.name}, ${load}: ${failures} failures`);
          }
          if (round > 0) {
            measured.get(server)!.rates.push(rate);
            measured.get(server)!.cpu.push(cpu);
          }
        }
      }
      for (const [{ contender }, { rates, cpu }] of measured) {
        const { name, adapter } = contender;
        results.push({ storage, size, load, contender: name, adapter, rates, cpu });
        const medians = [Math.round(median(rates)), `${Math.round(median(cpu))} µs`];
        console.log([storage, size, load, name, ...medians, rates.map(Math.round).join(' ')].join('\t'));
      }
    }
  } finally {
    await Promise.all(servers.map(server => server.stop()));
  }
}

/** `read-only` is this package's own, beside which the others `read`; Nest alone has no sessions to queue for. */
function canRun({ name, storage }: Contender, load: string): boolean {
  return load === 'read-only'
    ? ownCost || name.startsWith(OWN)
    : storage !== undefined || !['hot', 'alone'].includes(load);
}

function orderOf({ contender }: Server, load: string, cookies: string[]) {
  switch (load) {
    case 'new':
      return { path: '/new', cookies: [], connections: CONNECTIONS };
    case 'hot':
      return { path: '/write', cookies: cookies.slice(0, 1), connections: CONNECTIONS };
    case 'alone':
      return { path: '/write', cookies: cookies.slice(0, 1), connections: 1 };
    case 'read-only':
      return {
        path: contender.name.startsWith(OWN) ? '/read-only' : '/read',
        cookies,
        connections: CONNECTIONS,
      };
    default:
      return { path: `/${load}`, cookies, connections: CONNECTIONS };
  }
}

/** Of what is measured, and of what it stands on. */
function versionsOfPackages(): Record<string, string> {
  const root = new URL('../../../', import.meta.url);
  const peers = JSON.parse(readFileSync(new URL('bench/peers/package.json', root), 'utf8')).dependencies;
  const own = ['@nestjs/core', 'express', 'fastify', 'typeorm', 'pg', 'memjs'].map(name => [
    name,
    'node_modules',
  ]);
  const theirs = Object.keys(peers).map(name => [name, 'bench/peers/node_modules']);
  return Object.fromEntries(
    [...theirs, ...own].map(([name, folder]) => {
      const manifest = readFileSync(new URL(`${folder}/${name}/package.json`, root), 'utf8');
      return [name, JSON.parse(manifest).version];
    }),
  );
}
