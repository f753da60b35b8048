import * as fc from 'fast-check';
import { deepStrictEqual } from 'node:assert';
import { describe, expect, it } from 'vitest';
import { jsonPlusSerializer, type SessionSerializer } from 'nest-sessions';
import { SessionCodec } from '../../lib/session/session-codec.js';
import { inLong } from '../support/long.js';
import { jsonData, sessionData } from '../contract/values.js';

const { stringify, parse } = jsonPlusSerializer;
const RUNS = { numRuns: inLong(20_000, 800) };
const KEY = 'key';

/** Replaces or removes something at some depth, or nothing at all. */
function change(data: unknown, steps: number[], value: unknown): void {
  if (typeof data !== 'object' || data === null || ArrayBuffer.isView(data)) {
    return;
  }
  const keys = Object.keys(data);
  const key = keys[(steps[0] ?? 0) % (keys.length + 1)];
  const inner = key === undefined ? undefined : (data as Record<string, unknown>)[key];
  if (key !== undefined && steps.length > 1 && typeof inner === 'object') {
    change(inner, steps.slice(1), value);
  } else if (key !== undefined) {
    Object.defineProperty(data, key, { value, writable: true, enumerable: true, configurable: true });
  }
}
const steps = fc.array(fc.nat(6), { maxLength: 4 });

describe('what the codec remembers changes nothing', () => {
  it.each([
    ['data that JSON keeps', jsonData],
    ['any data', sessionData],
  ])('invariant 10: %s is read and written as the serializer does', (_, arbitrary) => {
    fc.assert(
      fc.property(arbitrary, steps, arbitrary, (data, way, other) => {
        const codec = new SessionCodec(jsonPlusSerializer);
        const text = stringify(data);
        for (let round = 0; round < 3; round++) {
          const values = codec.parse(KEY, text);
          deepStrictEqual(values, parse(text));
          expect(codec.stringify(values, KEY, text)).toBe(stringify(values));
          change(values, way, Object.values(other)[0]);
          const changed = codec.stringify(values, KEY, text);
          expect(changed).toBe(stringify(values));
          deepStrictEqual(codec.parse(KEY, changed), parse(changed));
          deepStrictEqual(codec.parse(KEY, text, true), parse(text));
        }
      }),
      RUNS,
    );
  });

  it.each<[string, (data: any) => void]>([
    ['-0 for 0', data => (data.zero = -0)],
    ['NaN for null', data => (data.none = NaN)],
    ['undefined for null', data => (data.none = undefined)],
    ['a Date for its text', data => (data.at = new Date(data.at))],
    ['an object for an array', data => (data.items = { ...data.items })],
    ['an array for an object', data => (data.map = Object.assign([], data.map))],
    ['a hole in an array', data => delete data.items[1]],
    ['a longer array', data => data.items.push(3)],
    ['keys in another order', data => (data.map = { b: 2, a: 1 })],
    ['a key more', data => (data.map.c = undefined)],
    ['a key less', data => delete data.map.b],
    ['another number', data => (data.deep.er.than = 2)],
    ['its own `$type`', data => (data.map.$type = 'Date')],
  ])('invariant 5: sees %s', (_, alter) => {
    const codec = new SessionCodec(jsonPlusSerializer);
    const text = stringify({
      zero: 0,
      none: null,
      at: '2026-01-01T00:00:00.000Z',
      items: [0, 1, 2],
      map: { a: 1, b: 2 },
      deep: { er: { than: 1 } },
    });
    codec.parse(KEY, text);
    const values = codec.parse(KEY, text);
    expect(codec.stringify(values, KEY, text)).toBe(text);
    alter(values);
    expect(codec.stringify(values, KEY, text)).toBe(stringify(values));
    expect(codec.stringify(values, KEY, text)).not.toBe(text);
  });

  it.each<[string, (data: any) => void]>([
    ['a class instance', data => (data.map = new (class Point {})())],
    ['an array of a class', data => (data.items = new (class Items extends Array {})())],
    ['a symbol as a key', data => (data.map[Symbol('x')] = 1)],
    ['a function', data => (data.map.a = () => 1)],
  ])('refuses %s also in data that is known', (_, alter) => {
    const codec = new SessionCodec(jsonPlusSerializer);
    const text = stringify({ items: [], map: { a: 1 } });
    codec.parse(KEY, text);
    const values = codec.parse(KEY, text);
    alter(values);
    expect(() => codec.stringify(values, KEY, text)).toThrow(/^Cannot store the session: data/);
  });

  it('no two requests share an object, nor the one that wrote with those that read', () => {
    const codec = new SessionCodec(jsonPlusSerializer);
    const text = codec.stringify({ list: [{ count: 1 }] }, KEY);
    const written: any = { list: [{ count: 1 }] };
    codec.stringify(written, KEY, text);
    const all: any[] = [written, codec.parse(KEY, text), codec.parse(KEY, text), codec.parse(KEY, text)];
    for (const values of all) {
      expect(values.list[0].count).toBe(1);
      values.list[0].count = 7;
      values.list.push('more');
    }
    expect(codec.parse(KEY, text)).toEqual({ list: [{ count: 1 }] });
  });

  it('a text of another session, or of another time, is not taken for the one that is known', () => {
    const codec = new SessionCodec(jsonPlusSerializer);
    for (const [key, count] of [
      ['a', 1],
      ['b', 2],
      ['a', 3],
      ['a', 1],
    ] as const) {
      expect(codec.parse(key, stringify({ count }))).toEqual({ count });
    }
  });

  it('data that nests deeper than can be written is read all the same', () => {
    const codec = new SessionCodec(jsonPlusSerializer);
    const text = `{"a":${'['.repeat(1000)}${']'.repeat(1000)}}`;
    expect(JSON.stringify(codec.parse(KEY, text))).toBe(text);
    expect(JSON.stringify(codec.parse(KEY, text))).toBe(text);
  });

  it('an own serializer sees every text and every value', () => {
    const calls: string[] = [];
    const own: SessionSerializer = {
      parse: text => (calls.push('parse'), JSON.parse(text)),
      stringify: data => (calls.push('stringify'), JSON.stringify(data)),
    };
    const codec = new SessionCodec(own);
    const values = codec.parse(KEY, '{"a":1}');
    codec.stringify(values, KEY, '{"a":1}');
    codec.parse(KEY, '{"a":1}');
    expect(calls).toEqual(['parse', 'stringify', 'parse']);
  });
});
