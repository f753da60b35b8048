import { describe, expect, it } from 'vitest';
import { SessionCookie } from '../../lib/http/session-cookie.js';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';

/** A value, or several that differ. */
const findCookie = (cookie: string, name: string) => {
  const found = new Set(new SessionCookie(resolveSessionOptions({ name })).valuesIn({ cookie }));
  return found.size > 1 ? found : [...found][0];
};
const find = (header: string) => {
  const found = findCookie(header, 'sid');
  return found instanceof Set ? [...found] : found;
};

describe('the values of a cookie in a header', () => {
  it.each<[string, string | string[] | undefined]>([
    ['', undefined],
    ['sid', undefined],
    ['sid;', undefined],
    ['sid ;=x', undefined],
    ['sidx=1', undefined],
    ['xsid=1', undefined],
    ['x-sid=1; x=sid=1', undefined],
    ['x=1 sid=2', undefined],
    ['SID=1', undefined],
    ['sid=', ''],
    ['sid=1', '1'],
    ['sid=1=2', '1=2'],
    [';;; \t sid \t= 1 \t;', '1'],
    ['a=sid; sid=1; b=sid', '1'],
    ['sid="1"', '1'],
    ['sid=""', ''],
    ['sid="', '"'],
    ['sid="1', '"1'],
    ['sid=1;sid=1', '1'],
    ['sid=1; sid="1"; sid = 1 ', '1'],
    ['sid=1; sid=2', ['1', '2']],
    ['sid=2; a=1; sid=1; sid=2; sid=', ['2', '1', '']],
    ['sid; sid=1', '1'],
    ['sidsid=1; sid=2', '2'],
    ['sid sid=1; sid=2', '2'],
  ])('%j: %j', (header, found) => {
    expect(find(header)).toEqual(found);
  });

  it('finds a cookie whatever its name is made of', () => {
    expect(findCookie('a.b=1; a+b=2; a-b=3', 'a+b')).toBe('2');
    expect(findCookie('aaab=1; aab=2; ab=3', 'aab')).toBe('2');
    expect(findCookie("aab=1; a*b=2; !#$%&'*+-.^_`|~=3", 'a*b')).toBe('2');
    expect(findCookie("aab=1; a*b=2; !#$%&'*+-.^_`|~=3", "!#$%&'*+-.^_`|~")).toBe('3');
  });

  const NAME = 'session_id';
  it.each([
    ['the name, over and over', NAME],
    ['the name with =', `${NAME}=`],
    ['the name with spaces', `${NAME} `],
    ['the name as a cookie without a value', `${NAME};`],
    ['empty cookies', `${NAME}=;`],
    ['other names that begin like it', `${NAME}x=1; `],
    ['names in values', `a=${NAME}; `],
    ['spaces', ' '],
    ['spaces and names', `${' '.repeat(50)}${NAME}`],
    ['spaces behind semicolons', `;${' '.repeat(50)}${NAME}`],
    ['semicolons', ';'],
    ['equals signs', '='],
    ['quotes', `${NAME}="`],
    ['other cookies', 'a=1; '],
  ])('takes twice the time for twice the length: %s', (_title, piece) => {
    const headerOf = (length: number) => piece.repeat(length / piece.length);
    expect(growth(headerOf(8192), headerOf(16_384))).toBeLessThan(2.5);
    // The cookie at the end is found all the same.
    expect(findCookie(`${headerOf(16_384)};${NAME}=x`, NAME)).toSatisfy(
      found => found === 'x' || (found as Set<string>).has('x'),
    );
  });

  it('takes twice the time for twice the values', () => {
    const headerOf = (length: number) => {
      let header = '';
      for (let serial = 0; header.length < length; serial++) {
        header += `${NAME}=${serial};`;
      }
      return header;
    };
    expect(growth(headerOf(8192), headerOf(16_384))).toBeLessThan(2.5);
  });

  /** The ratio of two headers' times; several tries, as something else may take the time meanwhile. */
  function growth(short: string, long: string): number {
    const reader = new SessionCookie(resolveSessionOptions({ name: NAME }));
    const time = (header: string) => {
      const started = performance.now();
      for (let runs = 0; runs < 20; runs++) {
        reader.valuesIn({ cookie: header });
      }
      return performance.now() - started;
    };
    let [ofShort, ofLong] = [Infinity, Infinity];
    for (let tries = 0; tries < 200 && (tries < 40 || ofLong > 2.4 * ofShort); tries++) {
      ofShort = Math.min(ofShort, time(short));
      ofLong = Math.min(ofLong, time(long));
    }
    return ofLong / ofShort;
  }
});
