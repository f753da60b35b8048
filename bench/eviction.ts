import { sessionKey } from '../lib/session/session-id.js';
import { RamBackend } from '../lib/storage/ram/ram.backend.js';
import { median } from './median.js';
import { Table } from './results.js';

/**
 * What a new session costs in RAM, in microseconds: below `maxSessions`, and beyond it, where another one has to go, at
 * first and after many of them. All of them are anonymous, while 40 users are logged in.
 * `npm run bench:eviction`; MAX_SESSIONS and EVICTIONS change the numbers.
 */
const MAX_SESSIONS = Number(process.env.MAX_SESSIONS ?? 100_000);
const EVICTIONS = Number(process.env.EVICTIONS ?? 200_000);
const HOUR = 3_600_000;
/** Creations that are timed together. */
const SAMPLE = 20_000;
const ROUNDS = 5;

const DATA = JSON.stringify({ cart: ['a', 'b', 'c'], visits: 1 });
// A hash costs as much as a creation: made before.
const KEYS = Array.from({ length: 2 * MAX_SESSIONS + 2 * SAMPLE + EVICTIONS }, (_, index) =>
  sessionKey(`session ${index}`),
);

async function creations(backend: RamBackend, from: number, count: number): Promise<number> {
  const start = performance.now();
  for (let index = from; index < from + count; index++) {
    await backend.create(KEYS[index]!, { data: DATA, ttl: HOUR });
  }
  return ((performance.now() - start) / count) * 1000;
}

interface Round {
  free: number;
  first: number;
  late: number;
  left: number;
}

async function round(): Promise<Round> {
  const backend = new RamBackend(MAX_SESSIONS);
  for (let index = 0; index < 40; index++) {
    await backend.create(sessionKey(`owned ${index}`), { data: DATA, owner: `owner ${index}`, ttl: HOUR });
  }
  await creations(backend, 0, MAX_SESSIONS - 40 - SAMPLE);
  const free = await creations(backend, MAX_SESSIONS, SAMPLE);
  let next = MAX_SESSIONS + SAMPLE;
  const first = await creations(backend, next, SAMPLE);
  next += SAMPLE;
  await creations(backend, next, EVICTIONS - SAMPLE);
  next += EVICTIONS - SAMPLE;
  const late = await creations(backend, next, SAMPLE);
  const owned = await Promise.all(
    Array.from({ length: 40 }, (_, index) => backend.read(sessionKey(`owned ${index}`))),
  );
  return { free, first, late, left: owned.filter(Boolean).length };
}

await round(); // warms up
const rounds: Round[] = [];
for (let index = 0; index < ROUNDS; index++) {
  rounds.push(await round());
}
const of = (part: keyof Round) => median(rounds.map(each => each[part]));
const cell = (part: 'first' | 'late') =>
  `${of(part).toFixed(2)} (${(of(part) / of('free')).toFixed(2)} times)`;
const table = new Table('Eviction');
table.add(
  `µs a new session in RAM, \`maxSessions\` ${MAX_SESSIONS}`,
  'the first evictions',
  `after ${EVICTIONS} evictions`,
  'of 40 with an owner left',
);
table.add(
  of('free').toFixed(2),
  cell('first'),
  cell('late'),
  String(Math.min(...rounds.map(each => each.left))),
);
table.end();
