import * as fc from 'fast-check';

/** What tags may be called: those of the serializer, and others. */
const TAGS =
  'undefined Number BigInt Date Map Set Buffer ArrayBuffer Object Uint8Array Float64Array BigInt64Array Price toString __proto__';
const tag = fc.constantFrom<unknown>('', null, 5, {}, [], ...TAGS.split(' '));

/** Sizes from 1 to the largest, each order of magnitude as often. */
const sizeUpTo = (max: number) =>
  fc.integer({ min: 0, max: 1_000 }).map(part => Math.ceil(max ** (part / 1_000)));

/** Texts of a size, as they cost the most, or as they are not expected. */
const LARGE: Record<string, (size: number) => string> = {
  'digits of a BigInt': size => `{"$type":"BigInt","value":"${'9'.repeat(size)}"}`,
  'hexadecimal digits of a BigInt': size => `{"$type":"BigInt","value":"-0x${'f'.repeat(size)}"}`,
  'a number': size => '9'.repeat(size),
  'a text': size => `"${'x'.repeat(size)}"`,
  escapes: size => `"${'\\u0001'.repeat(size / 6)}"`,
  quotes: size => `"${'\\"\\\\'.repeat(size / 4)}"`,
  'empty lists': size => `[${'[],'.repeat(size / 3)}1]`,
  'empty objects': size => `[${'{},'.repeat(size / 3)}1]`,
  keys: size => `{${listOf(size / 10, index => `"k${index}":1`)}}`,
  shapes: size => `[${listOf(size / 12, index => `{"k${index}":1}`)}]`,
  base64: size => `{"$type":"Buffer","value":"${'A'.repeat(size)}"}`,
  dates: size => `[${'{"$type":"Date","value":1},'.repeat(size / 27)}1]`,
  'a Map': size => `{"$type":"Map","value":[${listOf(size / 11, index => `["k${index}",1]`)}]}`,
  'a Set': size => `{"$type":"Set","value":[${listOf(size / 7, String)}]}`,
  'a broken text': size => `["${'x'.repeat(size)}`,
};

const listOf = (count: number, item: (index: number) => string): string =>
  Array.from({ length: Math.max(1, count) }, (_, index) => item(index)).join();

/** One level more around a text, in each way. */
const LEVELS: [before: string, after: string][] = [
  ['[', ']'],
  ['{"a":', '}'],
  ['{"$type":"Set","value":[', ']}'],
  ['{"$type":"Map","value":[[1,', ']]}'],
  ['{"$type":"Object","value":[["$type",', ']]}'],
  ['{"$type":"undefined","value":', '}'],
];

function nested(inner: string, depth: number, [before, after]: [string, string]): string {
  return before.repeat(depth) + inner + after.repeat(depth);
}

/** Any JSON, and tags around it at any place. */
const small = fc
  .letrec<{ value: unknown }>(tie => ({
    value: fc.oneof(
      { maxDepth: 4, depthSize: 'small' },
      fc.constantFrom<unknown>(
        null,
        true,
        0,
        -1,
        2e9,
        1e308,
        '',
        'x',
        '-0',
        'NaN',
        '0x',
        'AAA=',
        '__proto__',
      ),
      fc.record({ $type: tag, value: tie('value') }, { requiredKeys: ['$type'] }),
      fc.record({ $type: tag, value: fc.array(fc.array(tie('value'), { maxLength: 3 }), { maxLength: 3 }) }),
      fc.record({ $type: tag, value: fc.constant({ length: 2e9 }) }),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(
        fc.constantFrom('a', 'b', '$type', 'value', 'length', 'toJSON', '__proto__'),
        tie('value'),
        {
          maxKeys: 4,
        },
      ),
    ),
  }))
  .value.map(value => JSON.stringify(value));

/**
 * Texts of records that another program, or an enemy, put there: tags, depths, sizes and types.
 * @param maxSize characters, about
 */
export const plantedText = (maxSize: number): fc.Arbitrary<string> => {
  const large = fc
    .tuple(fc.constantFrom(...Object.values(LARGE)), sizeUpTo(maxSize))
    .map(([make, size]) => make(size));
  const deep = fc
    .tuple(fc.oneof(small, large), fc.constantFrom(...LEVELS), sizeUpTo(maxSize))
    .map(([inner, level, size]) => nested(inner, Math.ceil(size / level.join('').length), level));
  const value = fc.oneof({ weight: 4, arbitrary: small }, { weight: 2, arbitrary: large }, deep);
  return fc.oneof(
    { weight: 9, arbitrary: value.map(text => `{"planted":${text}}`) },
    value,
    value.map(text => text.slice(0, -1)),
  );
};

/** Of the kinds that hung a process, or made each of its answers a failure; each is larger than it may be, or no data. */
export const PLANTED: Record<string, string> = {
  'a Buffer of a given length': '{"a":{"$type":"Buffer","value":{"length":2000000000}}}',
  'a typed array of a given length': '{"a":{"$type":"Float64Array","value":{"length":2000000000}}}',
  'an ArrayBuffer of a number': '{"a":{"$type":"ArrayBuffer","value":2000000000}}',
  'a Map of texts': '{"a":{"$type":"Map","value":["ab"]}}',
  'a Set of a text': '{"a":{"$type":"Set","value":"abc"}}',
  'a Number of a list': '{"a":{"$type":"Number","value":[[7]]}}',
  'a Date of a list': '{"a":{"$type":"Date","value":[7]}}',
  'a Map in the place of all': '{"$type":"Map","value":[[1,2]]}',
  'nothing in the place of all': '{"$type":"undefined"}',
  'a BigInt of a boolean': '{"a":{"$type":"BigInt","value":true}}',
  'a long BigInt': `{"a":${LARGE['digits of a BigInt']!(900_000)}}`,
  'entries that are none': '{"a":{"$type":"Object","value":[[{},1]]}}',
  ...Object.fromEntries(
    [501, 5_000, 100_000].flatMap(depth =>
      LEVELS.slice(0, 5).map(level => [
        `${depth} levels of ${level.join('')}`,
        `{"a":${nested('1', depth, level)}}`,
      ]),
    ),
  ),
};
