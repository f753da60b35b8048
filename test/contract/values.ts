import * as fc from 'fast-check';

/** Any text, half surrogate pairs too, and the names that mean something to JavaScript or to the serializer. */
const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.array(fc.integer({ min: 0, max: 0xffff })).map(codes => String.fromCharCode(...codes)),
  fc.constantFrom('', '\u0000', '\ud800', '\udfff', '$type', 'value', '__proto__', 'constructor', 'toString'),
);
/** But not `toJSON`, which as a function is no data, and as data is no trouble. */
const name = fc.oneof(text, fc.constantFrom('toJSON', 'length', '0', '-1', 'hasOwnProperty'));

const bytes = fc.uint8Array({ maxLength: 40 });
/** A view of a part of its buffer, which alone is data. */
const typedArray = fc
  .tuple(
    fc.constantFrom(
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
    ),
    fc.uint8Array({ minLength: 40, maxLength: 40 }),
    fc.nat(2),
    fc.nat(2),
  )
  .map(([Type, content, from, length]) => new Type(new Uint8Array(content).buffer, from * 8, length));

/** Own properties, whatever their names: assigning to `__proto__` would set the prototype. */
const objectOf = (value: fc.Arbitrary<unknown>) =>
  fc.array(fc.tuple(name, value), { maxLength: 6 }).map(entries => Object.fromEntries(entries));

/** Objects with any value of invariant 10, at any depth. */
export const sessionData = fc.letrec<{ value: unknown; data: Record<string, unknown> }>(tie => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    fc.oneof(
      text,
      fc.boolean(),
      fc.double(),
      fc.integer(),
      fc.bigInt(),
      fc.date({ noInvalidDate: true }),
      bytes.map(content => Buffer.from(content)),
      bytes.map(content => new Uint8Array(content).buffer),
      typedArray,
      fc.constantFrom(null, undefined, NaN, Infinity, -Infinity, -0),
    ),
    tie('data'),
    fc.array(tie('value'), { maxLength: 5 }),
    fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 4 }).map(entries => new Map(entries)),
    fc.array(tie('value'), { maxLength: 4 }).map(items => new Set(items)),
  ),
  data: objectOf(tie('value')),
})).data;

/** Objects that JSON keeps as they are, without a key `$type`. */
export const jsonData = fc.letrec<{ value: unknown; data: Record<string, unknown> }>(tie => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    fc.oneof(
      text,
      fc.boolean(),
      fc.constant(null),
      fc.double({ noNaN: true, noDefaultInfinity: true }).map(number => number + 0), // no -0
    ),
    tie('data'),
    fc.array(tie('value'), { maxLength: 5 }),
  ),
  data: objectOf(tie('value')).map(object => {
    const { $type: _, ...rest } = object as Record<string, unknown>;
    return rest;
  }),
})).data;
