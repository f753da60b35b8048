import { types } from 'node:util';

export const TYPED_ARRAYS = {
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
};
export type TypedArrayName = keyof typeof TYPED_ARRAYS;

/** The kinds of objects that data may hold. */
export type DataKind =
  'Object' | 'Array' | 'Date' | 'Map' | 'Set' | 'Buffer' | 'ArrayBuffer' | TypedArrayName;

/** @returns undefined for what is no data: class instances, forged ones, and kinds that are not known here */
export function kindOf(value: object): DataKind | undefined {
  const prototype: object | null = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) {
    return Array.isArray(value) ? undefined : 'Object';
  }
  // By name, and then by what it really is: also right for objects of another realm (vm, jest).
  const type = nameOfClass(prototype);
  switch (type) {
    case 'Array':
      return Array.isArray(value) ? type : undefined;
    case 'Date':
      return types.isDate(value) ? type : undefined;
    case 'Map':
      return types.isMap(value) ? type : undefined;
    case 'Set':
      return types.isSet(value) ? type : undefined;
    case 'ArrayBuffer':
      return types.isArrayBuffer(value) ? type : undefined;
  }
  if (types.isTypedArray(value)) {
    return Buffer.isBuffer(value) ? 'Buffer' : isTypedArrayName(type) ? type : undefined;
  }
  return isPrototypeOfPlain(prototype, type) && !Array.isArray(value) ? 'Object' : undefined;
}

/** The name of an object's class, as its prototype has it; undefined if it has none. */
export function nameOfClass(prototype: object | null): string | undefined {
  return prototype?.constructor?.name;
}

/** The bytes of a view or a buffer; not a copy of them. */
export function bytesOf(value: object): Buffer {
  if (ArrayBuffer.isView(value)) {
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  }
  return Buffer.from(value as ArrayBuffer);
}

const isTypedArrayName = (type: string | undefined): type is TypedArrayName =>
  type !== undefined && Object.hasOwn(TYPED_ARRAYS, type);

/**
 * The Object.prototype of another realm; or an empty one, as Node's querystring, Fastify's and the package `cookie`
 * give to the objects they parse: they are objects without a prototype that are faster to make.
 */
const isPrototypeOfPlain = (prototype: object, type: string | undefined): boolean =>
  Object.getPrototypeOf(prototype) === null && (type === 'Object' || Reflect.ownKeys(prototype).length === 0);
