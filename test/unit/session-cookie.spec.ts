import * as fc from 'fast-check';
import { Cookie } from 'tough-cookie';
import { describe, expect, it } from 'vitest';
import type { SessionModuleOptions } from 'nest-sessions';
import { SessionCookie } from '../../lib/http/session-cookie.js';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';

const cookieOf = (options: SessionModuleOptions = {}) => new SessionCookie(resolveSessionOptions(options));
const ID = 'AbC_-'.repeat(9).slice(0, 43);
const EXPIRES_AT = Date.UTC(2100, 0, 1);

/** What only a client without manners sends; Node's own refuses to. */
const HOSTILE_PATHS: [title: string, value: unknown][] = [
  ['a second header', '/x\r\nSet-Cookie: session_id=evil'],
  ['a line feed', '/x\nSet-Cookie: session_id=evil'],
  ['a carriage return', '/x\rX-Evil: 1'],
  ['an attribute', '/x; Domain=evil.example'],
  ['a full-width semicolon', '/x\uff1b Domain=evil.example'],
  ['a zero byte', '/x\u0000'],
  ['a delete character', '/x\u007f'],
  ['a list', ['/x', '/y']],
  ['more than a path is long', `/${'x'.repeat(1024)}`],
  ['an object', { toString: () => '/x' }],
];

const anyText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: fc.constantFrom(...'/;,= \r\n\t"%<>aZ0\u0000\u00e9', '; Domain=evil.example') }),
);

describe('the path from pathHeader', () => {
  const cookie = cookieOf({ pathHeader: 'X-Path', domain: 'example.com', persistent: false });
  const plain = cookie.bind(ID, EXPIRES_AT, true, {});

  it.each(HOSTILE_PATHS)('is / instead of %s', (_title, value) => {
    expect(cookie.bind(ID, EXPIRES_AT, true, { 'x-path': value as string })).toBe(plain);
  });

  it('whatever it is, is used whole or not at all, and changes nothing else', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          anyText,
          anyText.map(text => `/${text}`),
        ),
        value => {
          const set = Cookie.parse(cookie.bind(ID, EXPIRES_AT, true, { 'x-path': value }))!;
          expect([value, '/']).toContain(set.path);
          expect({ ...set.toJSON(), path: '/', creation: null }).toEqual({
            ...Cookie.parse(plain)!.toJSON(),
            creation: null,
          });
          expect(Cookie.parse(cookie.clear(true, { 'x-path': value }))!.path).toBe(set.path);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it.each(['/', '/shop', '/a/b/', '/%C3%A9', "/~u!$&'()*+:=@", `/${'x'.repeat(1023)}`])('may be %s', path => {
    expect(Cookie.parse(cookie.bind(ID, EXPIRES_AT, true, { 'x-path': path }))!.path).toBe(path);
  });
});

describe.each([{}, { secret: ['new', 'old'] }])('readId with %o', options => {
  const cookie = cookieOf(options);
  const pair = Cookie.parse(cookie.bind(ID, EXPIRES_AT, true, {}))!.cookieString();

  it('finds the id among any other cookies', () => {
    const others = fc.array(
      fc.tuple(fc.stringMatching(/^[a-z_]{1,12}$/), fc.stringMatching(/^[!-:<-~]{0,20}$/)),
    );
    fc.assert(
      fc.property(others, others, (before, after) => {
        fc.pre([...before, ...after].every(([name]) => name !== 'session_id'));
        const join = (pairs: [string, string][]) =>
          pairs.map(([name, value]) => `${name}=${value}; `).join('');
        expect(cookie.readId({ cookie: `${join(before)}${pair}; ${join(after)}` })).toBe(ID);
      }),
    );
  });

  it('reads any header as a plain parser does, and never throws', () => {
    const value = pair.slice('session_id='.length);
    const readPlainly = (header: string) => {
      const values = header
        .split(';')
        .map(text => /^[ \t]*(.*?)\s*=\s*("?)(.*?)\2\s*$/s.exec(text))
        .filter(match => match?.[1] === 'session_id')
        .map(match => match![3]!);
      if (values.length === 0) {
        return undefined;
      }
      return values.length === 1 && values[0] === value ? ID : null;
    };
    const pieces = ['session_id', 'session_id=', pair, value, '=', ';', '; ', ' ', '"', '%', 's%3A', ID];
    const header = fc
      .array(fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...pieces) }, anyText), { maxLength: 6 })
      .map(parts => parts.join(''));
    let found = 0;
    fc.assert(
      fc.property(header, text => {
        const id = cookie.readId({ cookie: text });
        found += id ? 1 : 0;
        expect(id).toBe(readPlainly(text));
      }),
      { numRuns: 5000 },
    );
    expect(found).toBeGreaterThan(100);
  });

  it('takes no cookie that is there twice, in any form', () => {
    for (const second of ['', 'x', ID, pair.slice('session_id='.length), '"']) {
      expect(cookie.readId({ cookie: `${pair}; session_id=${second}` })).toBeNull();
      expect(cookie.readId({ cookie: `session_id=${second};${pair}` })).toBeNull();
    }
    expect(cookie.readId({ cookie: pair })).toBe(ID);
  });

  it('is not confused by a nameless cookie whose value begins with the name', () => {
    expect(cookie.readId({ cookie: `session_idX; ${pair}` })).toBe(ID);
  });
});

it("generateId's own ids are read back, of any allowed shape, signed or not", () => {
  const ids = fc.stringMatching(/^[A-Za-z0-9\-_.~]{16,256}$/);
  let serial = 0;
  const generateId = () => `0123456789abcdef${serial++}`;
  for (const options of [{ generateId }, { generateId, secret: 'secret' }]) {
    const cookie = cookieOf(options);
    fc.assert(
      fc.property(ids, id => {
        const set = Cookie.parse(cookie.bind(id, EXPIRES_AT, true, {}))!;
        expect(cookie.readId({ cookie: set.cookieString() })).toBe(id);
      }),
    );
  }
});
