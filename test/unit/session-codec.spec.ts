import * as fc from 'fast-check';
import { deepStrictEqual } from 'node:assert';
import { describe, expect, it } from 'vitest';
import { jsonPlusSerializer, type SessionSerializer } from 'nest-sessions';
import { ownCopyOf, SessionCodec } from '../../lib/session/session-codec.js';
import { jsonData, sessionData } from '../contract/values.js';
import { inLong } from '../support/long.js';

const { stringify, parse } = jsonPlusSerializer;
const RUNS = { numRuns: inLong(20_000, 800) };
const KEY = 'key';
const copyFrom = (codec: SessionCodec, key: string, text: string): any => ownCopyOf(codec.read(key, text));

describe('what the codec knows changes nothing', () => {
  it.each([
    ['data that JSON keeps', jsonData],
    ['any data', sessionData],
  ])('invariant 10: %s is read and written as the serializer does', (_, arbitrary) => {
    fc.assert(
      fc.property(arbitrary, arbitrary, (data, other) => {
        const codec = new SessionCodec(jsonPlusSerializer);
        for (const each of [data, data, other, data]) {
          const text = codec.write(KEY, each);
          expect(text).toBe(stringify(each));
          deepStrictEqual(copyFrom(codec, KEY, text), parse(text));
          deepStrictEqual(copyFrom(codec, 'another', text), parse(text));
          deepStrictEqual(copyFrom(codec, KEY, stringify(data)), parse(stringify(data)));
        }
      }),
      RUNS,
    );
  });

  it('no two requests share an object, nor the one that wrote with those that read', () => {
    const codec = new SessionCodec(jsonPlusSerializer);
    const written: any = { list: [{ count: 1 }] };
    const text = codec.write(KEY, written);
    for (const values of [written, ...[1, 2, 3].map(() => copyFrom(codec, KEY, text))]) {
      expect(values.list[0].count).toBe(1);
      values.list[0].count = 7;
      values.list.push('more');
    }
    expect(copyFrom(codec, KEY, text)).toEqual({ list: [{ count: 1 }] });
  });

  it('a text of another session, or of another time, is not taken for the one that is known', () => {
    const codec = new SessionCodec(jsonPlusSerializer);
    for (const [key, count] of [
      ['a', 1],
      ['b', 2],
      ['a', 3],
      ['a', 1],
    ] as const) {
      expect(copyFrom(codec, key, stringify({ count }))).toEqual({ count });
    }
  });

  it('what has ended is not kept: one session, or all', () => {
    const parsed: string[] = [];
    const watched = { ...JSON, parse: JSON.parse };
    JSON.parse = (text: string) => (parsed.push(text), watched.parse(text));
    try {
      const codec = new SessionCodec(jsonPlusSerializer);
      const texts = ['{"a":1}', '{"b":1}'];
      const readBoth = () => texts.forEach((text, index) => codec.read(String(index), text));
      readBoth();
      readBoth();
      expect(parsed).toEqual(texts);
      codec.forget('1');
      readBoth();
      expect(parsed).toEqual([...texts, texts[1]]);
      codec.forget();
      readBoth();
      expect(parsed).toEqual([...texts, texts[1], ...texts]);
    } finally {
      JSON.parse = watched.parse;
    }
  });

  it('an own serializer sees every text and every value', () => {
    const calls: string[] = [];
    const own: SessionSerializer = {
      parse: text => (calls.push('parse'), JSON.parse(text)),
      stringify: data => (calls.push('stringify'), JSON.stringify(data)),
    };
    const codec = new SessionCodec(own);
    const { data, isShared } = codec.read(KEY, '{"a":1}');
    expect(isShared).toBe(false);
    codec.write(KEY, data);
    codec.read(KEY, '{"a":1}');
    expect(calls).toEqual(['parse', 'stringify', 'parse']);
  });
});
