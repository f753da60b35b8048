import * as fc from 'fast-check';
import { Logger } from '@nestjs/common';
import { jsonPlusSerializer } from '../lib/options/json-plus.serializer.js';
import { resolveSessionOptions } from '../lib/options/resolve-options.js';
import { ownCopyOf } from '../lib/session/session-codec.js';
import { SessionRuntime } from '../lib/session/session-runtime.js';
import { RamBackend } from '../lib/storage/ram/ram.backend.js';
import { plantedText } from '../test/support/planted.js';
import { Table } from './results.js';

/**
 * What it costs to read a record that somebody planted, beside good ones of `maxSize`: the worst of so many drawn ones.
 * `npm run bench:planted`; RECORDS and SEED change the numbers.
 */
const RECORDS = Number(process.env.RECORDS ?? 100_000);
const SEED = Number(process.env.SEED ?? 1);
const MAX_SIZE = 1024 * 1024;
/** A machine that was busy elsewhere is no fault of the record's: of several reads, the shortest. */
const TRIES = 5;
const HOUR = 3_600_000;

Logger.overrideLogger(false);
const runtime = new SessionRuntime(resolveSessionOptions({}), { backend: new RamBackend(1) });
let reads = 0;

/** Milliseconds. As a request reads it that changes it: each time as for the first time. */
function read(data: string): { ms: number; isFound: boolean } {
  const startedAt = performance.now();
  const record = { data, createdAt: Date.now(), expiresAt: Date.now() + HOUR, lastUsedAt: Date.now() };
  const stored = runtime.parse(`key ${reads++}`, record);
  if (stored) {
    ownCopyOf(stored);
  }
  const ms = performance.now() - startedAt;
  runtime.codec.forget();
  return { ms, isFound: stored !== undefined };
}

const shortest = (data: string): number => Math.min(...Array.from({ length: TRIES }, () => read(data).ms));

/** Of about `maxSize`, as applications have them. */
function goodRecord(item: (index: number) => [string, unknown]): string {
  const fill = (count: number) =>
    jsonPlusSerializer.stringify({
      all: Object.fromEntries(Array.from({ length: count }, (_, index) => item(index))),
    });
  return fill(Math.floor((20_000 * 0.9 * MAX_SIZE) / fill(20_000).length));
}
const GOOD: Record<string, string> = {
  'one text': JSON.stringify({ text: 'x'.repeat(MAX_SIZE - 20) }),
  'a cart': goodRecord(index => [`sku-${index}`, { name: 'tea', count: 2, price: 4.5, tags: ['a', 'b'] }]),
  dates: goodRecord(index => [`event-${index}`, new Date(index)]),
  'counts by name': goodRecord(index => [`name-${index}`, index]),
};
const goods = Object.entries(GOOD).map(([name, text]) => [name, shortest(text)] as const);
const [goodName, good] = goods.toSorted((a, b) => b[1] - a[1])[0]!;

let worst = { ms: 0, text: '' };
let missing = 0;
const startedAt = Date.now();
// In parts, so that they are not all kept at a time.
for (let part = 0; part < RECORDS / 100; part++) {
  for (const text of fc.sample(fc.noBias(plantedText(2 * MAX_SIZE)), {
    numRuns: 100,
    seed: SEED * 1_000_000 + part,
  })) {
    const { ms, isFound } = read(text);
    missing += isFound ? 0 : 1;
    const least = ms > worst.ms ? Math.min(ms, shortest(text)) : ms;
    if (least > worst.ms) {
      worst = { ms: least, text };
    }
  }
}
const table = new Table('Planted records');
table.add('good records of 1 MiB', 'milliseconds to read');
goods.forEach(([name, ms]) => table.add(name, ms.toFixed(1)));
table.end();
console.log(
  `${RECORDS} planted records, ${missing} of them missing, in ${((Date.now() - startedAt) / 60_000).toFixed(1)} min: ` +
    `the worst takes ${worst.ms.toFixed(1)} ms, ${(worst.ms / good).toFixed(2)} times of ${goodName} ` +
    `(${worst.text.length} characters: ${worst.text.slice(0, 60)}…)`,
);
