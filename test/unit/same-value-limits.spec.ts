import { describe, expect, it } from 'vitest';
import { isSameValue } from '../../lib/options/same-value.js';

describe('whatever the live value is, the comparison ends', () => {
  it('circles', () => {
    const circle: Record<string, unknown> = { a: 1 };
    circle.self = circle;
    const list: unknown[] = [];
    list.push(list);
    const map = new Map<unknown, unknown>();
    map.set('self', map);
    const set = new Set<unknown>();
    set.add(set);
    expect(isSameValue(circle, { a: 1, self: { a: 1, self: {} } })).toBe(false);
    expect(isSameValue(list, [[[[]]]])).toBe(false);
    expect(isSameValue(map, new Map([['self', new Map([['self', new Map()]])]]))).toBe(false);
    expect(isSameValue(set, new Set([new Set([new Set()])]))).toBe(false);
    for (const value of [circle, list, map, set]) {
      expect(isSameValue(value, value)).toBe(false);
    }
  });

  it('depth: 500 levels are compared, more are never the same', () => {
    const nest = (depth: number, leaf: unknown) => {
      let value = leaf;
      for (let level = 0; level < depth; level++) {
        value = level % 2 ? { value } : [value];
      }
      return value;
    };
    expect(isSameValue(nest(500, 1), nest(500, 1))).toBe(true);
    expect(isSameValue(nest(500, 1), nest(500, 2))).toBe(false);
    expect(isSameValue(nest(499, {}), nest(498, {}))).toBe(false);
    expect(isSameValue(nest(100_000, 1), nest(500, 1))).toBe(false);
    expect(isSameValue(nest(100_000, 1), nest(100_000, 1))).toBe(false);
  });

  it('getters and proxies: each property is read once, and an array without end is no array of a few items', () => {
    let reads = 0;
    const live = {
      get a(): unknown {
        reads++;
        return reads === 1 ? { deep: [reads] } : live;
      },
    };
    expect(isSameValue(live, { a: { deep: [1] } })).toBe(true);
    expect(reads).toBe(1);
    const endless: object = new Proxy(
      {},
      {
        ownKeys: () => ['a'],
        getOwnPropertyDescriptor: () => ({ value: 1, enumerable: true, configurable: true }),
        get: () => endless,
      },
    );
    expect(isSameValue(endless, { a: { a: { a: 1 } } })).toBe(false);
    const long = new Proxy([], { get: (_, key) => (key === 'length' ? 1e15 : 1) });
    expect(isSameValue(long, [1, 1])).toBe(false);
    expect(isSameValue(new Proxy({ a: [1] }, {}), { a: [1] })).toBe(true);
  });

  it("what a getter throws is the application's", () => {
    const error = new Error('mine');
    const live = {
      get a() {
        throw error;
      },
    };
    expect(() => isSameValue(live, { a: 1 })).toThrow(error);
  });
});
