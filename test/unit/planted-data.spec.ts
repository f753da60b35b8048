import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Logger } from '@nestjs/common';
import {
  jsonPlusSerializer,
  jsonSerializer,
  SessionSerializationException,
  SessionStore,
  type SessionRecord,
} from 'nest-sessions';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';
import { isSameValue } from '../../lib/options/same-value.js';
import { isNestedDeeper } from '../../lib/options/nesting.js';
import { ownCopyOf } from '../../lib/session/session-codec.js';
import { SessionRuntime } from '../../lib/session/session-runtime.js';
import { RamBackend } from '../../lib/storage/ram/ram.backend.js';
import { dictOf, OpenSessions } from '../support/open-sessions.js';
import { inLong } from '../support/long.js';
import { PLANTED, plantedText } from '../support/planted.js';
import { sessionKey } from '../../lib/session/session-id.js';

const HOUR = 3_600_000;
const KEY = 'k'.repeat(43);

/** Bytes of all binary data, and how many objects there are. */
function sizeOf(data: unknown): { bytes: number; objects: number } {
  let bytes = 0;
  let objects = 0;
  for (const rest = [data]; rest.length > 0;) {
    const value = rest.pop();
    if (typeof value === 'object' && value !== null) {
      objects++;
      if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
        bytes += value.byteLength;
      } else if (value instanceof Map) {
        rest.push(...Array.from(value).flat());
      } else {
        rest.push(...(value instanceof Set ? value : Object.values(value)));
      }
    }
  }
  return { bytes, objects };
}

describe('invariant 14, what the storage holds is not trusted', () => {
  let warnings: string[];
  beforeEach(() => {
    warnings = [];
    vi.spyOn(Logger.prototype, 'warn').mockImplementation(text => void warnings.push(String(text)));
  });
  afterEach(() => void vi.restoreAllMocks());

  const runtimeOf = (options = {}) =>
    new SessionRuntime(resolveSessionOptions(options), { backend: new RamBackend(1_000) });
  const recordOf = (data: string, more = {}) => ({
    data,
    createdAt: Date.now(),
    expiresAt: Date.now() + HOUR,
    lastUsedAt: Date.now(),
    ...more,
  });

  it.each(Object.entries(PLANTED))('%s is no session, and is told once', (_name, text) => {
    const runtime = runtimeOf();
    for (let reads = 0; reads < 3; reads++) {
      expect(runtime.parse(KEY, recordOf(text))).toBeUndefined();
    }
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(
      new RegExp(`^The data of session ${KEY} cannot be read, it counts as missing: `),
    );
    expect(warnings[0]!.length).toBeLessThan(500);
  });

  it.each([
    ['an owner that is a number', { owner: 7 }],
    ['an owner that is a list', { owner: ['ann'] }],
    ['a timeout that is none', { timeout: NaN }],
    ['a timeout of minus one', { timeout: -1 }],
    ['a timeout that is a text', { timeout: '60' }],
    ['a timeout without end', { timeout: Infinity }],
    ['no beginning', { createdAt: undefined }],
    ['a beginning that is a text', { createdAt: '2020-01-01' }],
    ['a beginning before all dates', { createdAt: -Infinity }],
    ['an end after all dates', { expiresAt: 1e300 }],
    ['a persistent that is a text', { persistent: 'yes' }],
    ['a last use that is a text', { lastUsedAt: '2020-01-01' }],
    ['data that is no text', { data: { length: 2e9 } }],
  ])('a record with %s is no session', (_name, wrong) => {
    expect(runtimeOf().parse(KEY, recordOf('{}', wrong))).toBeUndefined();
    expect(warnings).toHaveLength(1);
  });

  it('a record of a backend that keeps no lastUsedAt, as those of before, is a session', async () => {
    const backend = new RamBackend(1_000);
    const runtime = new SessionRuntime(resolveSessionOptions({}), { backend });
    const store = new SessionStore(runtime, { readIds: () => [], bind: () => '' });
    const id = await store.create({ a: 1 });
    const read = backend.read.bind(backend);
    backend.read = async key => ({ ...(await read(key)), lastUsedAt: undefined }) as unknown as SessionRecord;
    const { data, createdAt, lastUsedAt } = (await store.get(id))!;
    expect([data, lastUsedAt]).toEqual([{ a: 1 }, createdAt]);
    expect(warnings).toEqual([]);
  });

  it('what takes more bytes than a session may, with its owner, is not read; a smaller maxSize loses none of before', () => {
    const MIB = 1024 * 1024;
    const sized = (bytes: number) => recordOf(`{"a":"${'x'.repeat(bytes - 8)}"}`);
    expect(runtimeOf().parse(KEY, sized(MIB))).toBeDefined();
    expect(runtimeOf().parse(KEY, sized(MIB + 1))).toBeUndefined();
    expect(runtimeOf().parse(KEY, { ...sized(MIB - 2), owner: 'ann' })).toBeUndefined();
    expect(warnings.at(-1)).toMatch(
      /takes 1048577 bytes, more than the 1048576 that the option maxSize allows/,
    );
    expect(runtimeOf({ maxSize: 100 }).parse(KEY, sized(MIB))).toBeDefined();
    expect(runtimeOf({ maxSize: 3 * MIB }).parse(KEY, sized(3 * MIB))).toBeDefined();
  });

  it('drawn texts: what can be read takes memory in proportion to its text, can be worked with and be written; all else is missing', async () => {
    const storage = new RamBackend(1_000);
    await fc.assert(
      fc.asyncProperty(plantedText(inLong(300_000, 20_000)), async text => {
        const sessions = new OpenSessions(storage);
        const id = await sessions.seed({});
        const key = sessionKey(id);
        await storage.delete(key);
        await storage.create(key, { data: text, ttl: HOUR });
        const open = sessions.open(id);
        await open.load();
        if (open.isNew) {
          expect(warnings.filter(line => line.includes(key))).toHaveLength(1);
        } else {
          const { data } = dictOf(open);
          const size = sizeOf(data);
          expect(size.bytes).toBeLessThanOrEqual(text.length);
          expect(size.objects).toBeLessThanOrEqual(text.length);
          expect(isSameValue(data, ownCopyOf(sessions.runtime.codec.read(key, text)))).toBe(true);
          expect(isSameValue(jsonPlusSerializer.parse(jsonPlusSerializer.stringify(data)), data)).toBe(true);
          expect(Object.isFrozen(open.storedValues())).toBe(true);
        }
        dictOf(open).set('own', 1);
        await open.commit();
        expect(await sessions.stored(open.id)).toMatchObject({ own: 1 });
        await sessions.allFree();
      }),
      { numRuns: inLong(5_000, 600) },
    );
  }, 300_000);
});

describe('what can be written can be read', () => {
  const nest = (depth: number, wrap: (inner: unknown) => unknown) => {
    let value: unknown = 1;
    for (let level = 1; level < depth; level++) {
      value = wrap(value);
    }
    return { value };
  };
  const WRAPS: Record<string, (inner: unknown) => unknown> = {
    list: inner => [inner],
    object: inner => ({ inner }),
    Set: inner => new Set([inner]),
    'object with $type': inner => ({ $type: inner }),
  };

  it.each(Object.entries(WRAPS))('500 levels of %s, and no more, in either direction', (_name, wrap) => {
    const { stringify, parse } = jsonPlusSerializer;
    expect(isSameValue(parse(stringify(nest(500, wrap))), nest(500, wrap))).toBe(true);
    expect(() => stringify(nest(501, wrap))).toThrow(SessionSerializationException);
  });

  it.each([
    ['list', WRAPS.list!],
    ['object', WRAPS.object!],
  ])(
    'jsonSerializer, 500 levels of %s: more are refused by their path when they are written',
    (_name, wrap) => {
      const { stringify, parse } = jsonSerializer;
      expect(parse(stringify(nest(500, wrap)))).toEqual(nest(500, wrap));
      for (const depth of [501, 3_000]) {
        expect(() => stringify({ fine: [1], ...nest(depth, wrap) })).toThrow(
          /data\.value is nested too deeply, more than 500 levels/,
        );
        expect(() => parse(JSON.stringify(nest(depth, wrap)))).toThrow(/nested too deeply/);
      }
    },
  );

  it('a BigInt of any length, its text a short one of decimals, for others to read', () => {
    const { stringify, parse } = jsonPlusSerializer;
    for (const digits of [1, 999, 1_000, 1_001, 100_000]) {
      for (const sign of ['', '-']) {
        const value = BigInt(`${sign}1${'0'.repeat(digits - 1)}`);
        const text = stringify({ value });
        expect(parse(text)).toEqual({ value });
        expect(text.includes('0x')).toBe(digits > 1_000);
      }
    }
  });

  it('levels are counted in any JSON as it is read, with whatever in its strings', () => {
    fc.assert(
      fc.property(
        fc.json({ maxDepth: 8, stringUnit: fc.constantFrom('"', '\\', '[', '{', ']', '}', 'a') }),
        text => {
          const depthOf = (value: unknown): number =>
            typeof value === 'object' && value !== null
              ? 1 + Math.max(0, ...Object.values(value).map(depthOf))
              : 0;
          const depth = depthOf(JSON.parse(text));
          const padded = `${text}${' '.repeat(40)}`;
          expect(isNestedDeeper(padded, depth)).toBe(false);
          expect(depth > 0 && isNestedDeeper(padded, depth - 1)).toBe(depth > 0);
        },
      ),
      { numRuns: inLong(20_000, 2_000) },
    );
  });
});
