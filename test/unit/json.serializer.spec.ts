import * as fc from 'fast-check';
import { deepStrictEqual } from 'node:assert';
import { describe, expect, it } from 'vitest';
import { jsonSerializer, SessionSerializationException } from 'nest-sessions';
import { jsonData } from '../contract/values.js';

const { stringify, parse } = jsonSerializer;

class Point {
  #secret = 1;
  constructor(readonly x = 1) {}
  get double() {
    return this.x * 2 * this.#secret;
  }
}

function catchError(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error('It did not throw');
}

describe('jsonSerializer takes what JSON takes', () => {
  it.each<[string, unknown, unknown]>([
    ['a Date, as a string', new Date(0), '1970-01-01T00:00:00.000Z'],
    ['an invalid Date', new Date(NaN), null],
    ['a class instance, as a plain object', new Point(5), { x: 5 }],
    ['a toJSON', { toJSON: (key: string) => `from ${key}` }, 'from value'],
    ['a URL', new URL('http://host/a'), 'http://host/a'],
    ['undefined in an object, dropped', { a: undefined, b: 1 }, { b: 1 }],
    ['undefined in an array', [undefined], [null]],
    ['functions and symbols, dropped', { f() {}, s: Symbol('s'), [Symbol('k')]: 1 }, {}],
    ['NaN', NaN, null],
    ['-0', -0, 0],
    ['a Map', new Map([[1, 2]]), {}],
    ['a Set', new Set([1]), {}],
    ['a Buffer', Buffer.from('a'), { type: 'Buffer', data: [97] }],
    ["what jsonPlusSerializer's tags look like", { $type: 'Date', value: 0 }, { $type: 'Date', value: 0 }],
    ['an object without a prototype', Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
  ])('%s', (_, value, back) => {
    const text = stringify({ value });
    expect(text).toBe(JSON.stringify({ value }));
    deepStrictEqual(parse(text).value, back);
  });

  it('any JSON, which comes back', () => {
    fc.assert(
      fc.property(jsonData, data => {
        deepStrictEqual(parse(stringify(data)), data);
      }),
      { numRuns: 500 },
    );
  });

  it('one object in two places', () => {
    const shared = { a: [1] };
    deepStrictEqual(parse(stringify({ b: shared, c: [shared, shared] })), {
      b: shared,
      c: [shared, shared],
    });
  });

  it('a BigInt that has been taught its JSON', () => {
    const prototype = BigInt.prototype as { toJSON?: unknown };
    prototype.toJSON = function () {
      return String(this);
    };
    try {
      expect(stringify({ a: 5n })).toBe('{"a":"5"}');
    } finally {
      delete prototype.toJSON;
    }
  });
});

describe('what JSON refuses throws, and names the place', () => {
  const circle: Record<string, unknown> = { list: [1, {}] };
  (circle.list as unknown[]).push({ circle });
  const root: Record<string, unknown> = {};
  root.self = root;
  const turning = { toJSON: () => circle };

  it.each<[string, Record<string, unknown>, string, RegExp]>([
    ['a BigInt', { a: { b: [0, 5n] } }, 'data.a.b[1]', /is a BigInt/],
    ['a BigInt as an object', { a: Object(5n) }, 'data.a', /is a BigInt/],
    ['a BigInt from a toJSON', { a: {}, b: { toJSON: () => 1n } }, 'data.b', /is a BigInt/],
    ['a circle', { a: circle }, 'data.a.list[2].circle', /refers back/],
    ['the data in itself', root, 'data.self', /refers back/],
    ['a circle through a toJSON', { a: turning }, 'data.a.list[2].circle', /refers back/],
    ['a value after others', { a: { b: { c: [] } }, 'd e': { f: 1n } }, 'data["d e"].f', /is a BigInt/],
  ])('%s', (_, data, path, reason) => {
    const error = catchError(() => stringify(data)) as SessionSerializationException;
    expect(error).toBeInstanceOf(SessionSerializationException);
    expect(error.path).toBe(path);
    expect(error.message).toMatch(reason);
    expect(error.message.split('\n')).toHaveLength(1);
    expect(error.cause).toBeInstanceOf(TypeError);
  });

  it('a depth that JSON cannot write', () => {
    let value: unknown = 1;
    for (let level = 0; level < 200_000; level++) {
      value = [value];
    }
    expect(catchError(() => stringify({ value }))).toMatchObject({ path: 'data', name: /./ });
    expect(catchError(() => stringify({ value }))).toBeInstanceOf(SessionSerializationException);
  });

  it.each([5, 'text', null, [1], undefined])('data whose own toJSON makes it %j', json => {
    expect(catchError(() => stringify({ toJSON: () => json }))).toBeInstanceOf(SessionSerializationException);
  });

  it.each([new TypeError('mine'), new RangeError('mine'), new Error('mine')])(
    'what the application throws stays as it is: %s',
    error => {
      const thrower = {
        toJSON() {
          throw error;
        },
      };
      expect(catchError(() => stringify({ a: thrower }))).toBe(error);
    },
  );
});

it.each(['[]', 'null', '1', '"x"', '', '{"a":'])('parse throws on %s', text => {
  expect(() => parse(text)).toThrow(SyntaxError);
});
