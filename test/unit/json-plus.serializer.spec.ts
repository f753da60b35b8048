import { parseCookie } from 'cookie';
import * as fc from 'fast-check';
import { deepStrictEqual } from 'node:assert';
import { parse as parseQuery } from 'node:querystring';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { jsonPlusSerializer, SessionSerializationException } from 'nest-sessions';
import { jsonData, sessionData } from '../contract/values.js';

const { stringify, parse } = jsonPlusSerializer;
const returned = (value: unknown) => parse(stringify({ value })).value;

class Point {
  constructor(readonly x = 1) {}
}
/** As fast-querystring makes them, which Fastify parses queries with. */
const NullObject = function () {} as unknown as new () => object;
NullObject.prototype = Object.create(null);
class Bare extends (null as unknown as typeof Object) {
  static make = () => Object.create(Bare.prototype) as object;
}
const HEIR: object = Object.create(Object.assign(Object.create(null), { b: 1 }));
class Items extends Array {}
class Pairs extends Map {}
class Bytes extends Uint8Array {}

describe('invariant 10, data comes back as it went in', () => {
  const backing = new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9, 9])
    .buffer;
  it.each<[string, unknown]>([
    ['null', null],
    ['undefined', undefined],
    ['a boolean', false],
    ['an empty string', ''],
    ['\\u0000', 'a\u0000b'],
    ['a lone high surrogate', '\ud83d'],
    ['a lone low surrogate', '\ude00x'],
    ['an emoji', '😀'],
    ['line separators', '\u2028\u2029'],
    ['an integer', 2 ** 53],
    ['a small number', 5e-324],
    ['NaN', NaN],
    ['Infinity', Infinity],
    ['-Infinity', -Infinity],
    ['-0', -0],
    ['a BigInt', -123456789012345678901234567890n],
    ['a Date', new Date(1_700_000_000_123)],
    ['the earliest Date', new Date(-8.64e15)],
    [
      'a Map',
      new Map<unknown, unknown>([
        ['a', 1],
        [{ b: 2 }, new Date(0)],
        [NaN, undefined],
        ['__proto__', -0],
      ]),
    ],
    ['an empty Map', new Map()],
    ['a Map in a Map', new Map([[new Map([[1, 2]]), new Set([1n])]])],
    ['a Set', new Set([1, '1', null, undefined, [2], new Set()])],
    ['a Buffer', Buffer.from('héllo')],
    ['an empty Buffer', Buffer.alloc(0)],
    ['a large Buffer', Buffer.alloc(100_000, 7)],
    ['an ArrayBuffer', new Uint8Array([1, 2, 255]).buffer],
    ['an Int8Array', new Int8Array([-1, 1])],
    ['a Uint8Array', new Uint8Array([1, 255])],
    ['a Uint8ClampedArray', new Uint8ClampedArray([300])],
    ['an Int16Array', new Int16Array([-300])],
    ['a Uint16Array', new Uint16Array([60_000])],
    ['an Int32Array', new Int32Array([-70_000])],
    ['a Uint32Array', new Uint32Array([4e9])],
    ['a Float32Array', new Float32Array([1.5, -0, NaN])],
    ['a Float64Array', new Float64Array([0.1, Infinity])],
    ['a BigInt64Array', new BigInt64Array([-1n])],
    ['a BigUint64Array', new BigUint64Array([2n ** 64n - 1n])],
    ['a part of a buffer', new Uint16Array(backing, 8, 4)],
    ['a Uint8Array over a Buffer', new Uint8Array(Buffer.from('abc'))],
    ['undefined in an array', [undefined, 1, undefined]],
    ['undefined as a property', { a: undefined }],
    ['an empty object', {}],
    ['an empty array', []],
  ])('%s', (_, value) => {
    deepStrictEqual(returned(value), value);
    deepStrictEqual(returned([value, { value }]), [value, { value }]);
    deepStrictEqual(returned(new Map([[1, value]])), new Map([[1, value]]));
  });

  it('an invalid Date', () => {
    const back = returned(new Date(NaN));
    expect(back).toBeInstanceOf(Date);
    expect((back as Date).getTime()).toBeNaN();
  });

  it('any data, so that equal data is equal text: what change detection compares', () => {
    fc.assert(
      fc.property(sessionData, data => {
        const text = stringify(data);
        const back = parse(text);
        deepStrictEqual(back, data);
        expect(stringify(back)).toBe(text);
      }),
      { numRuns: 2_000 },
    );
  });

  it('clean JSON as exactly what JSON.stringify writes', () => {
    fc.assert(
      fc.property(jsonData, data => {
        expect(stringify(data)).toBe(JSON.stringify(data));
      }),
      { numRuns: 1_000 },
    );
  });

  it('text that is no text in UTF-8 is escaped: the serialized form is always well-formed', () => {
    fc.assert(
      fc.property(sessionData, data => !/\p{Surrogate}/u.test(stringify(data))),
      { numRuns: 500 },
    );
  });

  it('without changing what it was given', () => {
    const data = { a: [1, undefined, new Date(0)], $type: 'x', b: { c: NaN } };
    const before = structuredClone(data);
    stringify(data);
    deepStrictEqual(data, before);
  });

  it("the application's own $type and value, nested and at the root", () => {
    for (const data of [
      { $type: 'Date', value: 5 },
      { $type: 'undefined' },
      { a: { $type: 'Map', value: [[1, 2]] }, b: [{ $type: { $type: 'Object', value: [] } }] },
      { $type: undefined, value: new Map([[{ $type: 'Set' }, 1]]) },
      { value: '"$type"', '"$type"': '$type' },
    ]) {
      deepStrictEqual(parse(stringify(data)), data);
    }
  });

  it('objects of another realm', () => {
    const data = runInNewContext(
      '({ o: { a: 1 }, l: [1], d: new Date(5), m: new Map([[1, new Set([2])]]) })',
    );
    deepStrictEqual(parse(stringify(data)), {
      o: { a: 1 },
      l: [1],
      d: new Date(5),
      m: new Map([[1, new Set([2])]]),
    });
  });

  it('one object in two places: as two equal ones', () => {
    const shared = { list: [1, new Date(0)] };
    const back = parse(stringify({ a: shared, b: shared, c: [shared, shared], d: new Set([shared]) }));
    deepStrictEqual(back, { a: shared, b: shared, c: [shared, shared], d: new Set([shared]) });
  });

  it.each<[string, (values: object) => object]>([
    ['without a prototype', values => Object.assign(Object.create(null), values)],
    ['of a class that has an empty prototype', values => Object.assign(new NullObject(), values)],
  ])('an object %s: as a plain one, at any depth', (_, make) => {
    const plain = { a: 1, b: undefined, c: { d: [{ e: new Date(0) }] }, m: new Map([[{ f: 1 }, { g: 2 }]]) };
    const made = make({
      a: 1,
      b: undefined,
      c: make({ d: [make({ e: new Date(0) })] }),
      m: new Map([[make({ f: 1 }), make({ g: 2 })]]),
    });
    deepStrictEqual(returned(made), plain);
    deepStrictEqual(parse(stringify(made as Record<string, unknown>)), plain);
    expect(stringify(made as Record<string, unknown>)).toBe(stringify(plain));
  });

  it('what Node and the frameworks parse', () => {
    deepStrictEqual(returned(parseQuery('a=1&b=2&b=3')), { a: '1', b: ['2', '3'] });
    deepStrictEqual(returned(parseCookie('a=1; b=2')), { a: '1', b: '2' });
    deepStrictEqual(returned(/(?<year>\d+)/.exec('in 1999')!.groups), { year: '1999' });
  });

  it('the holes of a sparse array: as undefined, with the right length', () => {
    const sparse = [1];
    sparse[3] = 4;
    sparse.length = 5;
    deepStrictEqual(returned(sparse), [1, undefined, undefined, 4, undefined]);
  });
});

describe('what would come back as something else is refused, by its path', () => {
  const circle: Record<string, unknown> = { list: [] };
  (circle.list as unknown[]).push({ circle });
  const ring = new Map<string, unknown>();
  ring.set('self', ring);

  it.each<[string, unknown, string, RegExp]>([
    ['a function', { a: { f() {} } }, 'data.a.f', /function/],
    ['a toJSON', { a: { toJSON: () => 1 } }, 'data.a.toJSON', /function/],
    ['a symbol', { a: [1, Symbol('s')] }, 'data.a[1]', /symbol/],
    ['a symbol as a key', { a: { [Symbol('s')]: 1 } }, 'data.a', /symbol as a key/],
    ['a class instance', { cart: [{}, { price: new Point() }] }, 'data.cart[1].price', /instance of Point/],
    ['an instance without a class name', { a: new (class {})() }, 'data.a', /instance of a class/],
    ['an array of a subclass', { a: Items.from([1]) }, 'data.a', /instance of Items/],
    ['a Map of a subclass', { a: new Pairs() }, 'data.a', /instance of Pairs/],
    ['a typed array of a subclass', { a: new Bytes(2) }, 'data.a', /instance of Bytes/],
    ['an Error', { a: new Error('x') }, 'data.a', /instance of Error/],
    ['a RegExp', { a: /x/ }, 'data.a', /instance of RegExp/],
    ['a Promise', { a: Promise.resolve() }, 'data.a', /instance of Promise/],
    ['a WeakMap', { a: new WeakMap() }, 'data.a', /instance of WeakMap/],
    ['a DataView', { a: new DataView(new ArrayBuffer(1)) }, 'data.a', /instance of DataView/],
    ['a boxed string', { a: Object('x') }, 'data.a', /instance of String/],
    ['an instance of a class that extends null', { a: Bare.make() }, 'data.a', /instance of Bare/],
    ['an object that inherits from one without a prototype', { a: HEIR }, 'data.a', /instance of a class/],
    ['an array that says it is an object', { a: Object.setPrototypeOf([], null) }, 'data.a', /instance of/],
    ['an object that inherits', { a: Object.create({ b: 1 }) }, 'data.a', /instance of Object/],
    ['a forged Date', { a: Object.create(Date.prototype) }, 'data.a', /instance of Date/],
    ['a circle', { a: circle }, 'data.a.list[0].circle', /refers back/],
    ['a circle through a Map', { a: ring }, 'data.a[0][1]', /refers back/],
    ['a value of a Map', { a: new Map([['k', { b: new Point() }]]) }, 'data.a[0][1].b', /Point/],
    ['a key of a Map', { a: new Map([[new Point(), 1]]) }, 'data.a[0][0]', /Point/],
    ['a member of a Set', { a: new Set([1, () => 1]) }, 'data.a[1]', /function/],
    ['a value under an odd key', { 'a b': { '': { '0': Symbol('s') } } }, 'data["a b"][""]["0"]', /symbol/],
    ['a value under __proto__', JSON.parse('{"__proto__":{}}'), '', /^$/],
  ])('%s', (_, data, path, reason) => {
    if (path === '') {
      Object.getOwnPropertyDescriptor(data, '__proto__')!.value.f = () => 1;
    }
    const error = catchError(() => stringify(data as Record<string, unknown>));
    expect(error).toBeInstanceOf(SessionSerializationException);
    expect((error as SessionSerializationException).path).toBe(path || 'data.__proto__.f');
    expect((error as Error).message).toMatch(path ? reason : /data\.__proto__\.f is a function/);
  });

  it('with what to do about a class instance', () => {
    expect(() => stringify({ cart: { price: new Point() } })).toThrow(
      'data.cart.price is an instance of Point, which would come back as a plain object; ' +
        'store a plain object such as { ...value }, or set serializer: jsonSerializer',
    );
  });

  it('also when it is the data itself', () => {
    expect(catchError(() => stringify(new Point() as never))).toMatchObject({ path: 'data' });
  });

  it.each([1_000, 100_000])('%i levels, with a SessionSerializationException, not a RangeError', depth => {
    const nest = (wrap: (inner: unknown) => unknown) => {
      let value: unknown = 1;
      for (let level = 0; level < depth; level++) {
        value = wrap(value);
      }
      return catchError(() => stringify({ value }));
    };
    for (const wrap of [
      (a: unknown) => ({ a }),
      (a: unknown) => [a],
      (a: unknown) => new Map([[1, a]]),
      (a: unknown) => new Set([a]),
    ]) {
      expect(nest(wrap)).toBeInstanceOf(SessionSerializationException);
    }
  });

  it('no depth that can be written but not read, be the stack ever so full', () => {
    let value: unknown = undefined; // a tag: so that reading walks it
    let text = stringify({ value });
    for (let level = 0; level < 20_000; level++) {
      value = level % 2 ? { value } : new Map([[1, value]]);
      try {
        text = stringify({ value });
      } catch (error) {
        expect(error).toBeInstanceOf(SessionSerializationException);
        break;
      }
    }
    const deep = (frames: number): unknown => (frames === 0 ? parse(text) : deep(frames - 1));
    expect(deep(2_000)).toBeDefined();
    expect(stringify(deep(0) as Record<string, unknown>)).toBe(text);
  });
});

function catchError(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error('It did not throw');
}
