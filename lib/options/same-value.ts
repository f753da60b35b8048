import { bytesOf, kindOf } from './data-kind.js';
import { MAX_DEPTH } from './nesting.js';

type Properties = Record<string, unknown>;

/**
 * Whether the default serializer would write the same text for both, without writing it.
 *
 * What it does not keep (functions, symbols, class instances) is never the same, not even as itself: so it is
 * noticed, and refused where it is written.
 *
 * @param a anything: it may be circular, and each of its properties is read at most once
 * @param b a tree, as it was read from its text; below the depth that data may have, nothing is the same
 */
export function isSameValue(a: unknown, b: unknown): boolean {
  return isSame(a, b, 0);
}

function isSame(a: unknown, b: unknown, depth: number): boolean {
  switch (typeof a) {
    case 'string':
    case 'boolean':
    case 'undefined':
    case 'bigint':
      return a === b;
    case 'number':
      return Object.is(a, b);
    case 'object':
      if (a === null || b === null) {
        return a === b;
      }
      return typeof b === 'object' && depth < MAX_DEPTH && isSameObject(a, b, depth + 1);
    default:
      return false;
  }
}

function isSameObject(a: object, b: object, depth: number): boolean {
  const prototype: unknown = Object.getPrototypeOf(a);
  // Nearly all data is of these two kinds, made here.
  if (prototype === Object.getPrototypeOf(b)) {
    if (prototype === Object.prototype && !Array.isArray(a) && !Array.isArray(b)) {
      return hasSameProperties(a as Properties, b as Properties, depth);
    }
    if (prototype === Array.prototype && Array.isArray(a) && Array.isArray(b)) {
      return hasSameItems(a, b, depth);
    }
  }
  const kind = kindOf(a);
  return kind !== undefined && kind === kindOf(b) && isSameOfKind(kind, a as never, b as never, depth);
}

function isSameOfKind(kind: string, a: any, b: any, depth: number): boolean {
  switch (kind) {
    case 'Object':
      return hasSameProperties(a, b, depth);
    case 'Array':
      return hasSameItems(a, b, depth);
    case 'Date':
      return Object.is(a.getTime(), b.getTime());
    case 'Map':
      return hasSameEntries(a, b, depth);
    case 'Set':
      return hasSameMembers(a, b, depth);
    default:
      return bytesOf(a).equals(bytesOf(b));
  }
}

function hasSameProperties(a: Properties, b: Properties, depth: number): boolean {
  const keys = Object.keys(a);
  const keysOfB = Object.keys(b);
  if (keys.length !== keysOfB.length || hasSymbols(a)) {
    return false;
  }
  for (let index = 0; index < keys.length; index++) {
    const key = keys[index]!;
    if (key !== keysOfB[index] || !isSame(a[key], b[key], depth)) {
      return false;
    }
  }
  return true;
}

/** Symbols as keys are not kept; but what nobody lists is not missed. */
function hasSymbols(object: object): boolean {
  return Object.getOwnPropertySymbols(object).some(symbol =>
    Object.prototype.propertyIsEnumerable.call(object, symbol),
  );
}

function hasSameItems(a: unknown[], b: unknown[], depth: number): boolean {
  if (a.length !== b.length) {
    return false;
  }
  // By index: a hole is written as undefined.
  for (let index = 0; index < b.length; index++) {
    if (!isSame(a[index], b[index], depth)) {
      return false;
    }
  }
  return true;
}

function hasSameEntries(a: Map<unknown, unknown>, b: Map<unknown, unknown>, depth: number): boolean {
  if (a.size !== b.size) {
    return false;
  }
  const entries = a.entries();
  for (const [key, value] of b) {
    const entry = entries.next().value;
    if (!entry || !isSame(entry[0], key, depth) || !isSame(entry[1], value, depth)) {
      return false;
    }
  }
  return true;
}

function hasSameMembers(a: Set<unknown>, b: Set<unknown>, depth: number): boolean {
  if (a.size !== b.size) {
    return false;
  }
  const members = a.values();
  for (const member of b) {
    if (!isSame(members.next().value, member, depth)) {
      return false;
    }
  }
  return true;
}
