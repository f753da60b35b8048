import { randomBytes } from 'node:crypto';
import { sign } from 'cookie-signature';
import { describe, expect, it } from 'vitest';
import { ExpressMigration } from '../../lib/compat/express-migration.js';
import { SessionCookie } from '../../lib/http/session-cookie.js';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';
import type { SessionRuntime } from '../../lib/session/session-runtime.js';

const SECRETS = ['the newer secret of cookies', 'the older secret of cookies'];
const ID = randomBytes(32).toString('base64url');
const SIGNED = encodeURIComponent(`s:${sign(ID, SECRETS[1]!)}`);

const plain = new SessionCookie(resolveSessionOptions());
const signed = new SessionCookie(resolveSessionOptions({ secret: SECRETS }));
const store = { get() {}, set() {}, destroy() {} } as never;
const migration = new ExpressMigration({} as SessionRuntime, { store, secret: SECRETS });

/** What reads a whole header, and a cookie that it has to find in it. */
const READERS: Record<string, { read: (cookie: string) => unknown; own: string }> = {
  'a plain cookie': { read: cookie => plain.read({ cookie })?.[0], own: `session_id=${ID}` },
  'a signed cookie': { read: cookie => signed.read({ cookie })?.[0], own: `session_id=${SIGNED}` },
  'the cookie of express-session': {
    read: cookie => migration.find({ cookie }),
    own: `connect.sid=${encodeURIComponent(`s:${sign('x', SECRETS[0]!)}`)}`,
  },
};

/** What fills the header, as analytics, consent tools and attackers do. */
const FILLERS: Record<string, (index: number) => string> = {
  'cookies of others': index => `_ga_${index}=GS1.1.${index}.1; `,
  'names that begin alike': index => `session_id${index}=1; connect.sid${index}=1; `,
  'malformed ones of the name': index => `session_id=${index}; connect.sid=${index}; `,
  'wrongly signed ones': index => `session_id=s%3A${ID.slice(0, 40)}${100 + (index % 900)}.${ID}; `,
  'well-formed ones': index => `session_id=${ID.slice(0, 39)}${1000 + (index % 9000)}; `,
  'quotes and percent signs': index => `session_id="%${index}; connect.sid="%s%3A; `,
  'one long value': () => 'x'.repeat(64),
  'equal ones': () => `session_id=${ID}; connect.sid=x; `,
};

function headerOf(length: number, filler: (index: number) => string): string {
  let text = '';
  for (let index = 0; text.length < length; index++) {
    text += filler(index);
  }
  return text.slice(0, length);
}

/** The ratio of two headers' times; many short tries, as something else may take the time meanwhile, or the garbage of the tries before. */
function growth(read: (cookie: string) => unknown, short: string, long: string): number {
  const time = (header: string) => {
    const started = performance.now();
    for (let runs = 0; runs < 4; runs++) {
      read(header);
    }
    return performance.now() - started;
  };
  let [ofShort, ofLong] = [Infinity, Infinity];
  for (let tries = 0; tries < 500 && (tries < 100 || ofLong > 2.4 * ofShort); tries++) {
    ofShort = Math.min(ofShort, time(short));
    ofLong = Math.min(ofLong, time(long));
  }
  return ofLong / ofShort;
}

describe.each(Object.keys(READERS))('long cookie headers: %s', name => {
  const { read, own } = READERS[name]!;

  it.each(Object.keys(FILLERS))('16 KB take at most 2.5 times of 8 KB: %s', filler => {
    const [short, long] = [8192, 16_384].map(length => headerOf(length, FILLERS[filler]!));
    expect(growth(read, short!, long!)).toBeLessThan(2.5);
  });

  it('the cookie is found behind 16 KB of others', () => {
    for (const filler of ['cookies of others', 'names that begin alike', 'one long value']) {
      expect(read(`${headerOf(16_384, FILLERS[filler]!)}; ${own}`), filler).toBeTruthy();
    }
  });
});
