import { TYPED_ARRAYS, type TypedArrayName } from './data-kind.js';
import { MAX_DEPTH } from './nesting.js';

/**
 * Data that has tags, `{ "$type": …, "value": … }`, as it was before it was written. Nothing is taken for what it says it
 * is: what a tag holds may be planted, and anything else than the encoder writes is refused, before it is worked with.
 * @param depth levels above
 * @throws SyntaxError for what the encoder does not write
 */
export function decode(value: unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null) {
    return value;
  }
  if (Object.hasOwn(value, '$type')) {
    const { $type, value: content } = value as { $type: unknown; value: unknown };
    return isLeaf($type) ? decodeLeaf($type, content) : decodeTagged($type, content, deeper(depth));
  }
  const below = deeper(depth);
  return Array.isArray(value) ? decodeItems(value, below) : decodeEntries(Object.entries(value), below);
}

function deeper(depth: number): number {
  if (depth >= MAX_DEPTH) {
    throw new SyntaxError(`Session data is nested too deeply, more than ${MAX_DEPTH} levels`);
  }
  return depth + 1;
}

const decodeItems = (items: unknown[], depth: number): unknown[] => items.map(item => decode(item, depth));

/** `Object.fromEntries` makes a key named `__proto__` a property like any other. */
const decodeEntries = (entries: [string, unknown][], depth: number) =>
  Object.fromEntries(entries.map(([key, value]) => [key, decode(value, depth)]));

const NUMBERS = new Set<unknown>(['NaN', 'Infinity', '-Infinity', '-0']);

/** Digits of a BigInt that are written as decimals: to read, or write, more of them takes quadratic time. */
export const MAX_DECIMALS = 1_000;
const DECIMAL = new RegExp(`^-?\\d{1,${MAX_DECIMALS}}$`);
const HEXADECIMAL = /^-?0x[\da-f]+$/;

type Leaf = 'undefined' | 'Number' | 'BigInt';
const isLeaf = (type: unknown): type is Leaf =>
  type === 'undefined' || type === 'Number' || type === 'BigInt';

function decodeLeaf(type: Leaf, content: unknown): unknown {
  switch (type) {
    case 'undefined':
      return undefined;
    case 'Number':
      return NUMBERS.has(content) ? Number(content) : refuse(type);
    case 'BigInt':
      return typeof content === 'string' ? decodeBigInt(content) : refuse(type);
  }
}

function decodeBigInt(text: string): bigint {
  if (DECIMAL.test(text)) {
    return BigInt(text);
  }
  if (!HEXADECIMAL.test(text)) {
    return refuse('BigInt');
  }
  return text.startsWith('-') ? -BigInt(text.slice(1)) : BigInt(text);
}

function decodeTagged(type: unknown, content: unknown, depth: number): unknown {
  switch (type) {
    case 'Date':
      return content === null || typeof content === 'number' ? new Date(content ?? NaN) : refuse(type);
    case 'Map':
      return isArrayOf(content, isPair)
        ? new Map(content.map(pair => decodeItems(pair, deeper(depth)) as [unknown, unknown]))
        : refuse(type);
    case 'Set':
      return Array.isArray(content) ? new Set(decodeItems(content, depth)) : refuse(type);
    case 'Object':
      return isArrayOf(content, isEntry) ? decodeEntries(content, depth) : refuse(type);
  }
  if (typeof content === 'string') {
    if (type === 'Buffer') {
      return Buffer.from(content, 'base64');
    }
    if (type === 'ArrayBuffer') {
      return toArrayBuffer(content);
    }
    if (typeof type === 'string' && Object.hasOwn(TYPED_ARRAYS, type)) {
      return new TYPED_ARRAYS[type as TypedArrayName](toArrayBuffer(content));
    }
  }
  return refuse(type);
}

type Pair = [unknown, unknown];
const isPair = (value: unknown): value is Pair => Array.isArray(value) && value.length === 2;
const isEntry = (value: unknown): value is [string, unknown] => isPair(value) && typeof value[0] === 'string';

const isArrayOf = <T>(value: unknown, isItem: (item: unknown) => item is T): value is T[] =>
  Array.isArray(value) && value.every(isItem);

function refuse(type: unknown): never {
  const name = typeof type === 'string' && type.length < 30 ? type : typeof type;
  throw new SyntaxError(`Session data holds the type ${name}, which is unknown or has no such value`);
}

/** In a buffer of its own: a small Buffer is a view of a pool that others share. */
function toArrayBuffer(base64: string): ArrayBuffer {
  const bytes = Buffer.from(base64, 'base64');
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
}
