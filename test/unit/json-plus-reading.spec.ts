import { describe, expect, it } from 'vitest';
import { jsonPlusSerializer } from 'nest-sessions';

const { stringify, parse } = jsonPlusSerializer;

describe('reading what somebody else wrote', () => {
  it('pollutes no prototype', () => {
    for (const text of [
      '{"__proto__":{"polluted":1}}',
      '{"a":{"__proto__":{"polluted":1}},"b":{"$type":"undefined"}}',
      '{"constructor":{"prototype":{"polluted":1}},"b":{"$type":"undefined"}}',
      '{"a":{"$type":"Object","value":[["__proto__",{"polluted":1}]]}}',
      '{"$type":"Object","value":[["__proto__",{"polluted":1}]]}',
    ]) {
      const data = parse(text);
      expect(Object.getPrototypeOf(data)).toBe(Object.prototype);
      expect(Object.getPrototypeOf(data.a ?? {})).toBe(Object.prototype);
      expect(({} as Record<string, unknown>).polluted).toBeUndefined();
      expect((data as Record<string, unknown>).polluted).toBeUndefined();
    }
    const own = parse('{"__proto__":{"a":1}}');
    expect(Object.keys(own)).toEqual(['__proto__']);
    expect(stringify(own)).toBe('{"__proto__":{"a":1}}');
  });

  it.each([
    '{"a":{"$type":"Nonsense","value":1}}',
    '{"a":{"$type":"toString","value":1}}',
    '{"a":{"$type":"__proto__","value":1}}',
    '{"a":{"$type":5}}',
    '{"a":{"$type":null}}',
    '{"a":{"$type":"Map"}}',
    '{"a":{"$type":"BigInt","value":"x"}}',
    '{"a":{"$type":"Float64Array","value":"AAA="}}',
    '[]',
    'null',
    '1',
    '"x"',
    '',
    '{"a":',
  ])('throws on %s', text => {
    expect(() => parse(text)).toThrow(Error);
  });
});
