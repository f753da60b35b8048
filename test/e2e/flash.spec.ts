import { isDeepStrictEqual } from 'node:util';
import flash from 'connect-flash';
import { describe, expect, it } from 'vitest';
import { SETUPS } from '../support/app.js';
import { Browser, useServer } from '../support/scripts.js';

describe.each(SETUPS)('session.flash(): $storage, $adapter', setup => {
  const server = useServer(setup);

  it('keeps messages, of any kind, until they are read: once, in their order, by their key', async () => {
    const browser = new Browser(server.url);
    await browser.run(
      session => void session.flash('info', 'a').flash('info', { b: 1n }).flash('error', 'c'),
    );
    await browser.run(session => void session.flash('error', 'd'));
    const read = (key: string) =>
      browser.value(session => session.flashes(key).map(message => message.b?.toString() ?? message));
    expect(await read('info')).toEqual(['a', '1']);
    expect(await read('info')).toEqual([]);
    expect(await read('error')).toEqual(['c', 'd']);
    expect(await browser.value(session => session.toJSON())).toEqual({});
  });

  it('takes any key, and begins no session where nothing is kept', async () => {
    const browser = new Browser(server.url);
    expect(await browser.value(session => session.flashes('toString'))).toEqual([]);
    expect(await browser.cookie()).toBeUndefined();
    await browser.run(session => void session.flash('__proto__', 1).flash('constructor', 2));
    expect(
      await browser.value(session => [session.flashes('__proto__'), session.flashes('constructor')]),
    ).toEqual([[1], [2]]);
  });

  it('leaves other data under its key alone, and says so', async () => {
    const browser = new Browser(server.url);
    for (const other of ['mine', 5, null, [], [['a']], new Date(7), new Map([['a', ['b']]]), { a: 'b' }]) {
      await browser.run(session => void session.set('flash', other));
      const said = await browser.value(session => {
        try {
          return session.flash('info', 'a');
        } catch (error) {
          return String(error);
        }
      });
      expect(said).toContain('holds other data');
      expect(await browser.value(session => isDeepStrictEqual(session.get('flash'), other))).toBe(true);
    }
  });
});

describe('connect-flash goes on beside it', () => {
  const server = useServer({
    sessions: { eager: true },
    prepare: app => void app.use(flash()),
  });

  it('and reads the same messages', async () => {
    const browser = new Browser(server.url);
    await browser.expressValue((_session, req) => req.flash('info', 'theirs'));
    await browser.run(session => void session.flash('info', 'ours'));
    expect(await browser.expressValue((_session, req) => req.flash('info'))).toEqual(['theirs', 'ours']);
    expect(await browser.value(session => session.flashes('info'))).toEqual([]);
  });
});
