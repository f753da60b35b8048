import * as fc from 'fast-check';
import { Cookie } from 'tough-cookie';
import { describe, expect, it } from 'vitest';
import type { SessionOptions } from 'nest-sessions';
import { SessionCookie } from '../../lib/http/session-cookie.js';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';
import { sessionKey } from '../../lib/session/session-id.js';

const cookieOf = (options: SessionOptions = {}) => new SessionCookie(resolveSessionOptions(options));
const isAmbiguous = (cookie: SessionCookie, header: string) =>
  new Set(cookie.valuesIn({ cookie: header })).size > 1;
const ID = 'AbC_-'.repeat(9).slice(0, 43);
const OTHER = 'another_'.repeat(9).slice(0, 43);
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

describe.each([{}, { secret: ['a newer secret, long', 'an older secret, long'] }])(
  'read with %o',
  options => {
    const cookie = cookieOf(options);
    const pairOf = (id: string) => Cookie.parse(cookie.bind(id, EXPIRES_AT, true, {}))!.cookieString();
    const pair = pairOf(ID);
    const idOf = (header: string) => {
      const sent = cookie.read({ cookie: header });
      return sent && (sent[0]?.id ?? null);
    };

    it('finds the id among any other cookies', () => {
      const others = fc.array(
        fc.tuple(fc.stringMatching(/^[a-z_]{1,12}$/), fc.stringMatching(/^[!-:<-~]{0,20}$/)),
      );
      fc.assert(
        fc.property(others, others, (before, after) => {
          fc.pre([...before, ...after].every(([name]) => name !== 'session_id'));
          const join = (pairs: [string, string][]) =>
            pairs.map(([name, value]) => `${name}=${value}; `).join('');
          const text = `${join(before)}${pair}; ${join(after)}`;
          expect(cookie.read({ cookie: text })).toMatchObject([{ id: ID, key: sessionKey(ID) }]);
          expect(isAmbiguous(cookie, text)).toBe(false);
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
        return values.includes(value) ? ID : null;
      };
      const pieces = ['session_id', 'session_id=', pair, value, '=', ';', '; ', ' ', '"', '%', 's%3A', OTHER];
      const header = fc
        .array(fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...pieces) }, anyText), { maxLength: 6 })
        .map(parts => parts.join(''))
        .filter(text => !idsOf(text).includes(OTHER));
      const idsOf = (text: string) => cookie.readIds({ cookie: text }).map(sent => sent.id);
      let found = 0;
      fc.assert(
        fc.property(header, text => {
          const id = idOf(text);
          found += id ? 1 : 0;
          expect(id).toBe(readPlainly(text));
        }),
        { numRuns: 5000 },
      );
      expect(found).toBeGreaterThan(100);
    });

    it('is not confused by a nameless cookie whose value begins with the name', () => {
      expect(idOf(`session_idX; ${pair}`)).toBe(ID);
    });

    it('tells no cookie from one without an id', () => {
      expect(cookie.read({})).toBeUndefined();
      expect(cookie.read({ cookie: 'session=x' })).toBeUndefined();
      expect(cookie.read({ cookie: 'session_id=' })).toEqual([]);
      expect(cookie.read({ cookie: 'session_id=x; session_id=y' })).toEqual([]);
      expect(cookie.readIds({})).toEqual([]);
      expect(cookie.readIds({ cookie: 'session_id=x' })).toEqual([]);
    });

    it('takes equal values for one', () => {
      const text = `${pair}; a=b; ${pair}`;
      expect(cookie.read({ cookie: text })).toMatchObject([{ id: ID }]);
      expect(isAmbiguous(cookie, text)).toBe(false);
    });

    it.each(['', 'x', `${ID}x`, '%', '%E0%A4%A', 's%3A', 's%3A.', `s%3A${ID}.${'A'.repeat(43)}`, '"'])(
      'drops a value that holds no id: %j',
      value => {
        for (const header of [`${pair}; session_id=${value}`, `session_id=${value};${pair}`]) {
          expect(cookie.read({ cookie: header })).toMatchObject([{ id: ID }]);
          expect(isAmbiguous(cookie, header)).toBe(true);
          expect(cookie.readIds({ cookie: header }).map(sent => sent.id)).toEqual([ID]);
        }
      },
    );

    it('gives of several ids the first four, in their order', () => {
      const ids = Array.from({ length: 6 }, (_, serial) => `${serial}`.repeat(43));
      const header = ['session_id=x', ...ids.map(pairOf), pairOf(ids[0]!)].join('; ');
      const sent = cookie.read({ cookie: header })!;
      expect(sent.map(({ id }) => id)).toEqual(ids.slice(0, 4));
      expect(sent.map(({ key }) => key)).toEqual(ids.slice(0, 4).map(sessionKey));
      expect(isAmbiguous(cookie, header)).toBe(true);
      expect(cookie.readIds({ cookie: header }).map(sent => sent.id)).toEqual(ids.slice(0, 4));
    });

    it('binds to each id as it came', () => {
      const sent = cookie.read({ cookie: `${pair}; ${pairOf(OTHER)}` })!;
      expect(sent.map(({ id }) => id)).toEqual([ID, OTHER]);
      for (const { id } of sent) {
        expect(cookie.bind(id, EXPIRES_AT, true, {})).toBe(cookieOf(options).bind(id, EXPIRES_AT, true, {}));
      }
    });

    it('takes twice the time for twice the header, whatever values are in it', () => {
      const headerOf = (length: number) => {
        const pairs: string[] = [];
        for (let size = 0; size < length; size += pairs.at(-1)!.length + 1) {
          pairs.push(`${pairOf(`${pairs.length}`.padStart(43, 'x')).slice(0, -1)}!`); // none is right
        }
        return pairs.join(';');
      };
      const [short, long] = [headerOf(8192), headerOf(16_384)];
      const time = (cookieHeader: string) => {
        const started = performance.now();
        expect(cookie.read({ cookie: cookieHeader })).toEqual([]);
        return performance.now() - started;
      };
      // In turns, and often: something else may take the time meanwhile.
      let [ofShort, ofLong] = [Infinity, Infinity];
      for (let tries = 0; tries < 500 && (tries < 50 || ofLong >= 3 * ofShort); tries++) {
        ofShort = Math.min(ofShort, time(short));
        ofLong = Math.min(ofLong, time(long));
      }
      expect(ofLong).toBeLessThan(3 * ofShort);
    });
  },
);

describe('signatures', () => {
  const [NEW, OLD] = ['a newer secret, long', 'an older secret, long'];
  const rotated = cookieOf({ secret: [NEW, OLD] });
  const pairBy = (secret: string | undefined, id = ID) =>
    Cookie.parse(cookieOf({ secret }).bind(id, EXPIRES_AT, true, {}))!.cookieString();

  it('of an old secret count, and are replaced', () => {
    expect(rotated.read({ cookie: pairBy(OLD) })).toMatchObject([{ id: ID }]);
    expect(rotated.bind(ID, EXPIRES_AT, true, {})).toMatch(`${pairBy(NEW)};`);
    expect(rotated.read({ cookie: pairBy(OLD) })).toMatchObject([{ id: ID }]);
  });

  it('of both secrets are one session', () => {
    const text = `${pairBy(OLD)}; ${pairBy(NEW)}`;
    expect(rotated.read({ cookie: text })).toMatchObject([{ id: ID }]);
    expect(isAmbiguous(rotated, text)).toBe(true);
  });

  it.each([
    ["another's", pairBy('a third secret, as long')],
    ['none', pairBy(undefined)],
    ['of another id', pairBy(NEW).replace(ID, OTHER)],
    ['a longer one', `${pairBy(NEW)}A`],
    ['a shorter one', pairBy(NEW).slice(0, -1)],
    ['escaped twice', pairBy(NEW).replaceAll('%', '%25')],
    ['of what is no id', pairBy(NEW, 'short')],
  ])('do not count: %s', (_, pair) => {
    rotated.bind(ID, EXPIRES_AT, true, {}); // what it remembers makes nothing right
    expect(rotated.read({ cookie: pair })).toEqual([]);
  });

  it('count in any spelling', () => {
    const value = decodeURIComponent(pairBy(NEW));
    expect(rotated.read({ cookie: value })).toMatchObject([{ id: ID }]);
    expect(isAmbiguous(rotated, value)).toBe(false);
  });
});

it("generateId's own ids are read back, of any allowed shape, signed or not", () => {
  const ids = fc.stringMatching(/^[A-Za-z0-9\-_.~]{16,256}$/);
  let serial = 0;
  const generateId = () => `0123456789abcdef${serial++}`;
  for (const options of [{ generateId }, { generateId, secret: 'a secret that is long' }]) {
    const cookie = cookieOf(options);
    fc.assert(
      fc.property(ids, id => {
        const set = Cookie.parse(cookie.bind(id, EXPIRES_AT, true, {}))!;
        expect(cookie.readIds({ cookie: set.cookieString() }).map(sent => sent.id)).toEqual([id]);
      }),
    );
  }
});
