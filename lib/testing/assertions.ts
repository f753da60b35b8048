import assert from 'node:assert/strict';

// Of this realm, and without what is undefined: Jest gives tests other Arrays and Objects than Node.js' modules have.
const plain = (value: unknown): unknown =>
  value === undefined ? undefined : JSON.parse(JSON.stringify(value));

/** Equal in all; a property that is undefined counts as absent. */
export function same(actual: unknown, expected: unknown): void {
  assert.deepEqual(plain(actual), plain(expected));
}

/** An object that has these properties, and maybe others. */
export function includes(actual: unknown, expected: object): void {
  const found = plain(actual);
  const isObject = typeof found === 'object' && found !== null;
  const names = Object.keys(expected);
  same(isObject ? Object.fromEntries(names.map(name => [name, found[name as never]])) : found, expected);
}

export function below(actual: number, limit: number): void {
  assert.ok(actual < limit, `${actual} is not below ${limit}`);
}

export function above(actual: number, limit: number): void {
  assert.ok(actual > limit, `${actual} is not above ${limit}`);
}

export function atLeast(actual: number, limit: number): void {
  assert.ok(actual >= limit, `${actual} is less than ${limit}`);
}
