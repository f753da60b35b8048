import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SessionBackend, SessionModuleOptions } from 'nest-sessions';
import { SETUPS, startApp, type Setup, type TestApp } from '../support/app.js';
import { sendRaw } from '../support/client.js';
import { countCalls } from '../support/count-calls.js';
import { RecordingLogger } from '../support/recording-logger.js';
import { Browser, ScriptController, type Script, type ScriptRoute } from '../support/scripts.js';
import { setCookies } from '../support/set-cookies.js';
import { openBackend } from '../support/storages.js';

const deadId = () => randomBytes(32).toString('base64url');
const SECRETS = ['the newer secret of cookies', 'the older secret of cookies'];

/** A request with exactly these cookies of the name. */
class Sender extends Browser {
  constructor(
    url: string,
    private readonly values: string[],
  ) {
    super(url);
  }

  override run(script: Script, route: ScriptRoute = 'run') {
    const cookie = ['first=1', ...this.values.map(value => `session_id=${value}`), 'last=2'].join('; ');
    return super.run(script, route, { headers: { cookie } });
  }
}

const CASES: [string, SessionModuleOptions][] = [
  ['plain', {}],
  ['signed', { secret: SECRETS }],
];

describe.each(CASES)('cookies of the same name, %s', (_title, options) => {
  describe.each(SETUPS)('$storage, $adapter', ({ storage, adapter }: Setup) => {
    const logger = new RecordingLogger();
    let inner: SessionBackend;
    let calls: string[];
    let server: TestApp;

    beforeAll(async () => {
      inner = await openBackend(storage);
      const counted = countCalls(inner);
      calls = counted.calls;
      server = await startApp({
        adapter,
        controllers: [ScriptController],
        sessions: {
          ...options,
          storageType: counted.backend,
          cleanFreq: 0,
          clearAlso: [{ path: '/old' }, { path: '/older' }],
        },
        prepare: app => app.useLogger(logger),
      });
    });
    afterAll(async () => {
      await server.close();
      await inner.close();
    });

    /** A session that is alive: its id, and its cookie's value. */
    const begin = async (data: object = { user: 7 }) => {
      const answer = await new Browser(server.url).run(session => {
        session.update(data);
        return session.id;
      });
      const id: string = answer.json().value;
      return { id, value: answer.setCookies[0]!.slice('session_id='.length).split(';')[0]! };
    };
    /** As `begin`, of one that has ended. */
    const end = async () => {
      const session = await begin();
      await server.store.destroy(session.id);
      return session.value;
    };
    const find: Script = session => session.get('user', 'nobody');
    const found = async (values: string[], route?: ScriptRoute) =>
      (await new Sender(server.url, values).run(find, route)).json().value;

    it.each<ScriptRoute>(['run', 'read', 'explicit', 'early'])('equal ones count as one: %s', async route => {
      const { value } = await begin();
      expect(await found([value, value], route)).toBe(7);
      expect(await found(Array(20).fill(value), route)).toBe(7);
      expect(await found([value, `"${value}"`, ` ${value} `], route)).toBe(7);
    });

    it.each<ScriptRoute>(['run', 'read', 'explicit', 'early'])(
      'dead ones beside the one that is alive, in any order: %s',
      async route => {
        const { value } = await begin();
        const [a, b] = [await end(), await end()];
        for (const values of [
          [a, value],
          [value, a],
          [a, value, b],
          [a, b, value],
          [value, a, b],
          [a, a, value],
        ]) {
          expect(await found(values, route)).toBe(7);
        }
      },
    );

    it('malformed and wrongly signed ones drop out, however many', async () => {
      const { value } = await begin();
      const bad = Array.from({ length: 20 }, (_, index) => `${value.slice(0, 20)}${index}`);
      const forged = options.secret ? Array.from({ length: 20 }, deadId) : [];
      for (const values of [
        [...bad, ...forged, value],
        [value, ...bad, ...forged],
      ]) {
        calls.length = 0;
        expect(await found(values, 'read')).toBe(7);
        expect(calls.filter(call => call === 'read')).toHaveLength(1);
      }
    });

    it('at most four are looked up, without the lock, and one is locked', async () => {
      const dead = await Promise.all(Array.from({ length: 20 }, end));
      const { value } = await begin();
      calls.length = 0;
      expect(await found([dead[0]!, value, ...dead.slice(1)])).toBe(7);
      expect(calls.filter(call => call === 'read')).toHaveLength(4);
      expect(calls.filter(call => call === 'lock')).toHaveLength(1);
      calls.length = 0;
      expect(await found([...dead, value])).toBe('nobody');
      expect(calls.filter(call => call === 'read' || call === 'lock')).toEqual(Array(4).fill('read'));
    });

    it('invariant 8: where the session is not used, none is looked up', async () => {
      const values = [await end(), (await begin()).value];
      calls.length = 0;
      const answer = await new Sender(server.url, values).run(() => 1, 'none');
      expect([calls, answer.setCookies]).toEqual([[], []]);
    });

    it('two that are alive count as none, neither is changed, and the log says once what helps', async () => {
      const [a, b] = [await begin({ user: 1 }), await begin({ user: 2 })];
      logger.forget();
      for (const values of [
        [a.value, b.value],
        [b.value, a.value, await end()],
      ]) {
        for (const route of ['run', 'read', 'explicit', 'early'] as const) {
          expect(await found(values, route)).toBe('nobody');
        }
      }
      const answer = await new Sender(server.url, [a.value, b.value]).run(session => {
        session.set('user', 3);
        return session.id;
      });
      expect([a.id, b.id]).not.toContain(answer.json().value);
      expect((await server.store.get(a.id))!.data).toEqual({ user: 1 });
      expect((await server.store.get(b.id))!.data).toEqual({ user: 2 });
      expect(
        await server.store.fromRequest({
          headers: { cookie: `session_id=${a.value}; session_id=${b.value}` },
        }),
      ).toBe(undefined);
      const warnings = logger.aboveDebug.filter(line => line.includes('__Host-session_id'));
      expect(warnings).toHaveLength(logger.aboveDebug.length);
      expect(warnings.length).toBeLessThanOrEqual(1);
    });

    it('SessionStore: an id counts as what it is, not as the session of the request', async () => {
      const [alive, other] = [await begin({ user: 1 }), await begin({ user: 2 })];
      const dead = await begin();
      await server.store.destroy(dead.id);
      const both = new Sender(server.url, [alive.value, other.value]);
      const update = (id: string) =>
        server.store.update(id, session => {
          session.set('seen', session.get('user'));
          return session.get('user') as number;
        });
      expect((await both.run(() => update(other.id), 'none')).json()).toEqual({ value: 2 });
      const one = new Sender(server.url, [dead.value, alive.value]);
      expect((await one.run(() => update(dead.id), 'none')).json()).toEqual({});
      expect((await server.store.get(alive.id))!.data).toEqual({ user: 1 });
      expect((await one.run(() => update(alive.id), 'none')).json()).toEqual({ value: 1 });
      expect((await server.store.get(alive.id))!.data).toEqual({ user: 1, seen: 1 });
      const headers = { cookie: `session_id=${dead.value}; session_id=${alive.value}` };
      expect((await server.store.fromRequest({ headers }))?.id).toBe(alive.id);
    });

    it('what an earlier configuration set is cleared, once there are several', async () => {
      const { value } = await begin();
      const dead = await end();
      const cleared = async (values: string[], script: Script = find) =>
        setCookies(await new Sender(server.url, values).run(script))
          .filter(cookie => cookie.maxAge === 0)
          .map(({ path, domain }) => [path, domain]);
      const OLD = [
        ['/old', null],
        ['/older', null],
      ];
      expect(await cleared([dead, value])).toEqual(OLD);
      expect(await cleared([value, dead])).toEqual(OLD);
      expect(await cleared([value])).toEqual([]);
      expect(await cleared([value, dead], session => session.destroy())).toEqual([['/', null], ...OLD]);
    });

    it('the cookie that is sent binds to the session that was found', async () => {
      const { id, value } = await begin();
      const answer = await sendRaw(`${server.url}/run/none-such`, { headers: {} });
      expect(answer.setCookies).toEqual([]);
      const sent = await new Sender(server.url, [await end(), value]).run(session => session.id, 'read');
      expect(sent.json().value).toBe(id);
      expect(sent.setCookies[0]).toContain(`session_id=${value};`);
    });
  });
});
