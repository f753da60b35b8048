import * as fc from 'fast-check';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { jsonPlusSerializer } from 'nest-sessions';
import { isSameValue } from '../../lib/options/same-value.js';
import { jsonData, sessionData } from '../contract/values.js';

const { stringify, parse } = jsonPlusSerializer;

function NullObject() {}
NullObject.prototype = Object.create(null);
const nullObject = (values: object) =>
  Object.assign(new (NullObject as unknown as new () => object)(), values);
const bare = (values: object) => Object.assign(Object.create(null), values);

const sparse = [1];
sparse[2] = 3;
const bytes = new Uint8Array([9, 9, 9, 9, 9, 9, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8]).buffer;

/** Values of which each is the same as itself alone. */
const DIFFERENT: unknown[] = [
  undefined,
  null,
  true,
  false,
  0,
  -0,
  1,
  NaN,
  Infinity,
  -Infinity,
  0n,
  1n,
  '',
  '0',
  '1',
  'undefined',
  {},
  { a: 1 },
  { a: 1, b: 2 },
  { b: 2, a: 1 },
  { a: 1, b: undefined },
  { a: undefined },
  { a: { a: 1, b: [2] } },
  { a: { b: [2], a: 1 } },
  { a: -0 },
  { a: 0 },
  JSON.parse('{"__proto__":{"a":1}}'),
  JSON.parse('{"__proto__":1}'),
  { '0': 1, length: 1 },
  { $type: 'Date', value: 0 },
  { $type: 'Object', value: [] },
  [],
  [1],
  [1, 2],
  [[1], 2],
  [undefined],
  [null],
  new Date(0),
  new Date(1),
  new Date(NaN),
  new Map(),
  new Map([['a', 1]]),
  new Map([['a', 2]]),
  new Map([['b', 1]]),
  new Map([
    ['a', 1],
    ['b', 1],
  ]),
  new Map([
    ['b', 1],
    ['a', 1],
  ]),
  new Map([[{ a: 1 }, {}]]),
  new Set(),
  new Set([1, 2]),
  new Set([2, 1]),
  new Set([['a', 1]]),
  Buffer.from(''),
  Buffer.from('abcdefgh'),
  Buffer.from('abcdefgi'),
  new Uint8Array(Buffer.from('abcdefgh')),
  new Uint8ClampedArray(Buffer.from('abcdefgh')),
  new Int8Array(Buffer.from('abcdefgh')),
  new Uint8Array(Buffer.from('abcdefgh')).buffer,
  new Float64Array([0]),
  new Float64Array([-0]),
  new Float32Array([NaN]),
  new BigInt64Array([1n]),
  new BigUint64Array([1n]),
];

const ZEROS = [DIFFERENT.indexOf(0), DIFFERENT.indexOf(0) + 1];

/** The other values in the same form, so that differences show at any depth. */
const WRAPS: [string, (value: unknown) => unknown][] = [
  ['alone', value => value],
  ['in an object', value => ({ a: 1, value, z: 1 })],
  ['in an array', value => [1, value]],
  ['in a Map', value => new Map([['a', { value }]])],
  ['as the key of a Map', value => new Map([[value, 1]])],
  ['in a Set', value => new Set([1, [value]])],
  ['in objects without a prototype', value => bare({ a: nullObject({ value }) })],
];
const copyOf = (value: unknown) => parse(stringify({ value })).value;

describe.each(WRAPS)('values %s', (title, wrap) => {
  it('are the same as their copies, and as no others', () => {
    for (const [index, value] of DIFFERENT.entries()) {
      const same = DIFFERENT.flatMap((other, at) =>
        isSameValue(wrap(value), copyOf(wrap(other))) ? [at] : [],
      );
      const isZeroAsKey = title === 'as the key of a Map' && value === 0;
      expect(same).toEqual(isZeroAsKey ? ZEROS : [index]); // a Map makes no difference between 0 and -0
    }
  });
});

describe('isSameValue', () => {
  it('any data is the same as what is read from its text', () => {
    fc.assert(
      fc.property(sessionData, data => isSameValue(data, parse(stringify(data)))),
      { numRuns: 2_000 },
    );
  });

  it('and as what is read from another text only if the texts are one', () => {
    let same = 0;
    fc.assert(
      fc.property(alike(), ([x, y]) => {
        const isOne = stringify(x) === stringify(y);
        same += isOne ? 1 : 0;
        expect(isSameValue(x, parse(stringify(y)))).toBe(isOne);
      }),
      { numRuns: 3_000 },
    );
    expect(same).toBeGreaterThan(200);
    expect(same).toBeLessThan(2_800);
  });

  it('a hole is undefined, as it is written', () => {
    expect(isSameValue(sparse, [1, undefined, 3])).toBe(true);
    expect(isSameValue([1, undefined, 3], sparse)).toBe(true);
    expect(isSameValue(sparse, [1, null, 3])).toBe(false);
    expect(isSameValue(sparse, [1, undefined])).toBe(false);
  });

  it('an object without a prototype is a plain one', () => {
    for (const make of [bare, nullObject]) {
      const live = make({ a: 1, b: [make({ c: new Date(0) })] });
      expect(isSameValue(live, { a: 1, b: [{ c: new Date(0) }] })).toBe(true);
      expect(isSameValue({ a: 1, b: [{ c: new Date(0) }] }, live)).toBe(true);
      expect(isSameValue(live, { a: 1, b: [{ c: new Date(1) }] })).toBe(false);
    }
  });

  it('a view is its part of the buffer', () => {
    expect(isSameValue(new Uint16Array(bytes, 8, 4), copyOf(new Uint16Array(bytes, 8, 4)))).toBe(true);
    expect(isSameValue(new Uint16Array(bytes, 8, 4), copyOf(new Uint16Array(bytes, 6, 4)))).toBe(false);
    expect(isSameValue(Buffer.from(bytes, 8), Buffer.from([1, 2, 3, 4, 5, 6, 7, 8]))).toBe(true);
  });

  it('is right for another realm', () => {
    const text = `({ o: { a: 1 }, l: [1,,2], d: new Date(5), m: new Map([[1, new Set([2])]]), u: new Uint8Array([1]),
      b: new Uint8Array([2]).buffer, n: Object.create(null), x: undefined, big: 1n })`;
    const foreign = runInNewContext(text);
    const own = runInNewContext(text, { Object, Array, Date, Map, Set, Uint8Array });
    expect(isSameValue(foreign, parse(stringify(own)))).toBe(true);
    expect(isSameValue(parse(stringify(own)), foreign)).toBe(true);
    foreign.m.get(1).add(3);
    expect(isSameValue(foreign, parse(stringify(own)))).toBe(false);
    expect(isSameValue(runInNewContext('new (class A { a = 1 })'), { a: 1 })).toBe(false);
  });
});

describe('what is no data is never the same, not even as itself', () => {
  class Point {
    x = 1;
  }
  class Items extends Array {}
  const handler = () => 1;
  it.each<[string, unknown]>([
    ['a class instance', new Point()],
    ['a function', handler],
    ['a symbol', Symbol.iterator],
    ['an array of a subclass', Items.from([1])],
    ['an Error', new Error('x')],
    ['a RegExp', /x/],
    ['a boxed string', Object('x')],
    ['a DataView', new DataView(bytes)],
    ['a WeakMap', new WeakMap()],
    ['a Promise', Promise.resolve()],
    ['an object that inherits', Object.create({ a: 1 })],
    ['an object that inherits from one without a prototype', Object.create(bare({ a: 1 }))],
    ['a forged Date', Object.create(Date.prototype)],
    ['a forged Map', Object.create(Map.prototype)],
    ['a forged Buffer', Object.create(Buffer.prototype)],
    ['a forged array', Object.create(Array.prototype)],
    ['an array that says it is an object', Object.setPrototypeOf([1], Object.prototype)],
    ['an array without a prototype', Object.setPrototypeOf([1], null)],
    ['an object with a symbol as a key', { a: 1, [Symbol('s')]: 1 }],
  ])('%s', (_, value) => {
    for (const [, wrap] of WRAPS) {
      const wrapped = wrap(value);
      expect(isSameValue(wrapped, wrapped)).toBe(false);
    }
    expect(() => stringify({ value })).toThrow();
    expect(isSameValue({ ...(value as object) }, value)).toBe(false);
  });

  it('a symbol that nobody lists is not missed', () => {
    const value = Object.defineProperty({ a: 1 }, Symbol('s'), { value: 1, enumerable: false });
    expect(isSameValue(value, { a: 1 })).toBe(true);
    expect(stringify(value)).toBe('{"a":1}');
  });
});

/** Pairs of data, often the same, often nearly. */
function alike() {
  const change = fc.tuple(sessionData, fc.nat(3), fc.constantFrom<unknown>(0, -0, undefined, null, [], {}));
  return fc.oneof(
    fc.tuple(sessionData, sessionData),
    fc.tuple(jsonData, jsonData),
    sessionData.map(data => [data, parse(stringify(data))] as const),
    change.map(([data, at, value]) => {
      const keys = Object.keys(data);
      const key = keys[at % Math.max(1, keys.length)] ?? 'a';
      return [data, Object.fromEntries([...Object.entries(data), [key, value]])] as const;
    }),
    change.map(([data]) => [data, Object.fromEntries(Object.entries(data).toReversed())] as const),
  );
}
