import expressSession, { MemoryStore, type Store } from 'express-session';
import { createServer, type Server } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ALL_SETUPS, startApp, type TestApp } from '../support/app.js';
import { Client, sendRaw } from '../support/client.js';
import { Browser, Gate, ScriptController, useServer } from '../support/scripts.js';

const SECRETS = ['the current one', 'the former one'];

/** The application as it was, with express-session. */
class FormerApp {
  readonly store = new MemoryStore();
  readonly server: Server;
  url!: string;

  constructor() {
    const session = expressSession({
      store: this.store as Store,
      secret: SECRETS,
      resave: false,
      saveUninitialized: false,
      cookie: { maxAge: 7_200_000 },
    });
    this.server = createServer((req: any, res: any) =>
      session(req, res, () => {
        if (req.url === '/log-in') {
          req.session.user = { name: 'Ann' };
        }
        res.end(JSON.stringify(req.session.user ?? null));
      }),
    );
  }

  async start(): Promise<void> {
    await new Promise<void>(resolve => this.server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${(this.server.address() as { port: number }).port}`;
  }

  /** A browser that has logged in there, for the same host at another port: cookies know no ports. */
  async user(url: string): Promise<Browser> {
    const client = new Client(this.url);
    await client.get('/log-in');
    const browser = new Browser(url);
    const cookie = (await client.jar.getCookies(this.url)).find(({ key }) => key === 'connect.sid')!;
    browser.jar.setCookieSync(cookie, url);
    return browser;
  }
}

describe.each(ALL_SETUPS)('coming from express-session: $storage, $adapter', setup => {
  const former = new FormerApp();
  beforeAll(() => former.start());
  afterAll(() => void former.server.close());
  const server = useServer({
    ...setup,
    sessions: { migrateFrom: { store: former.store, secret: SECRETS } },
  });
  const left = () =>
    new Promise<number>((resolve, reject) =>
      former.store.length((error, count) => (error ? reject(error) : resolve(count!))),
    );

  it('a user stays logged in, with the data and its age, and the old session and cookie are gone', async () => {
    const browser = await former.user(server.url);
    const seen = await browser.value(session => ({
      ...session.toJSON(),
      isNew: session.isNew,
      minutes: session.timeout,
      locked: session.locked,
    }));
    expect(seen).toEqual({ user: { name: 'Ann' }, isNew: false, minutes: 120, locked: true });
    expect(await left()).toBe(0);
    expect(await browser.cookie('connect.sid')).toBeUndefined();
    expect(await browser.cookie()).toMatch(/^[\w-]{43}$/);
    expect(await browser.value(session => session.get('user'))).toEqual({ name: 'Ann' });
  });

  it('a first request that only reads brings the new cookie, too', async () => {
    const browser = await former.user(server.url);
    expect(await browser.value(session => session.get('user'), 'read')).toEqual({ name: 'Ann' });
    expect(await browser.cookie('connect.sid')).toBeUndefined();
    expect(await browser.cookie()).toMatch(/^[\w-]{43}$/);
  });

  it('no lost update: 20 first requests at once, each of which adds 1, have one session, which ends at 20', async () => {
    const before = await server.stored();
    const browser = await former.user(server.url);
    const cookie = `connect.sid=${(await browser.cookie('connect.sid'))!}`;
    const count = async () => {
      await browser.run(
        session => void session.set('count', session.get('count', 0) + 1),
        'run',
        { headers: { cookie } }, // also those that come after the first answer
      );
    };
    await Promise.all(Array.from({ length: 20 }, count));
    expect(await browser.value(session => session.get('count'))).toBe(20);
    expect((await server.stored()) - before).toBe(1);
  });

  it('no resurrection: after the log-out the old cookie brings nothing back', async () => {
    for (let run = 0; run < 20; run++) {
      const browser = await former.user(server.url);
      const cookie = `connect.sid=${(await browser.cookie('connect.sid'))!}`;
      const again = () => browser.run(session => session.get('user'), 'run', { headers: { cookie } });
      // Some of them read the old session before it moves, and go on when it has ended here.
      await Promise.all([browser.run(session => session.destroy()), again(), again()]);
      expect((await again()).json()).toEqual({});
    }
    expect(await left()).toBe(0);
  });

  it('a forged, unsigned or unknown cookie is as good as none', async () => {
    const browser = new Browser(server.url);
    const before = await server.stored();
    for (const value of ['s%3Aabc.forged', 'abc', 's%3A', '%', '']) {
      const answer = await browser.run(session => session.isNew, 'run', {
        headers: { cookie: `connect.sid=${value}` },
      });
      expect([answer.json(), answer.setCookies]).toEqual([{ value: true }, []]);
    }
    expect(await server.stored()).toBe(before);
  });

  it('a request that uses no session does not ask the old store', async () => {
    const browser = await former.user(server.url);
    const before = await left();
    await browser.value(() => undefined, 'none');
    expect(await left()).toBe(before);
  });

  it('secrets stay secret: the new id does not follow from the old one without the secret', async () => {
    const browser = await former.user(server.url);
    const sid = decodeURIComponent((await browser.cookie('connect.sid'))!)
      .slice(2)
      .split('.')[0]!;
    await browser.value(session => session.size);
    expect(await browser.cookie()).not.toContain(sid);
  });
});

/** An application as it was, and as it is, for one test. */
async function withBoth(test: (former: FormerApp, app: TestApp) => Promise<void>): Promise<void> {
  const former = new FormerApp();
  await former.start();
  const app = await startApp({
    controllers: [ScriptController],
    sessions: { migrateFrom: { store: former.store, secret: SECRETS[0]! } },
  });
  try {
    await test(former, app);
  } finally {
    await app.close();
    former.server.close();
  }
}

describe('coming from express-session, at the same time', () => {
  it('no resurrection: what one request reads in the old store, and another moves and ends meanwhile, stays ended', async () => {
    await withBoth(async (former, app) => {
      const { get } = former.store;
      const browser = await former.user(app.url);
      const late = new Browser(app.url);
      late.jar.setCookieSync(`connect.sid=${(await browser.cookie('connect.sid'))!}; Path=/`, app.url);
      const read = new Gate();
      let goOn = () => {};
      former.store.get = (sid, callback) =>
        get.call(former.store, sid, (...found) => {
          former.store.get = get; // only the first look takes its time
          goOn = () => callback(...found);
          read.open();
        });
      const answer = late.run(session => [session.isNew, session.size]);
      await read.opened;
      await browser.run(session => session.destroy());
      goOn();
      expect((await answer).json()).toEqual({ value: [true, 0] });
      expect(await app.stored()).toBe(0);
    });
  });

  it('no log-out: requests that come while one moves the session wait until it has removed the old one', async () => {
    await withBoth(async (former, app) => {
      const { get, destroy } = former.store;
      const browser = await former.user(app.url);
      const cookie = `connect.sid=${(await browser.cookie('connect.sid'))!}`;
      const ask = async () => {
        const answer = await browser.run(session => session.get('user'), 'run', { headers: { cookie } });
        return answer.json().value;
      };
      const secondLook = new Gate();
      const others = new Gate();
      let looks = 0;
      let goOn = () => {};
      former.store.get = (sid, callback) => {
        looks++;
        if (looks === 2) {
          goOn = () => get.call(former.store, sid, callback);
          secondLook.open();
          return;
        }
        if (looks === 6) {
          others.open(); // they wait: each has looked twice
        }
        get.call(former.store, sid, callback);
      };
      former.store.destroy = (sid, callback) => {
        destroy.call(former.store, sid, callback);
        others.open(); // they should not have
      };
      const mover = ask();
      await secondLook.opened;
      const behind = [ask(), ask()];
      await others.opened;
      goOn();
      const user = { name: 'Ann' };
      expect(await Promise.all([mover, ...behind])).toEqual([user, user, user]);
      expect(await app.stored()).toBe(1);
      former.store.get = get;
      await browser.run(session => session.destroy());
      expect((await browser.run(session => session.size, 'run', { headers: { cookie } })).json()).toEqual({
        value: 0,
      });
    });
  });
});

describe('coming from express-session, whose clock goes on', () => {
  it.each([null, 30 * 24 * 3_600_000])(
    'whether the cookie ended with the browser goes along: an age of %s',
    async age => {
      await withBoth(async (former, app) => {
        const { sessions } = former.store as unknown as { sessions: Record<string, string> };
        const browser = await former.user(app.url);
        const [sid] = Object.keys(sessions);
        const stored = JSON.parse(sessions[sid!]!);
        const cookie = { ...stored.cookie, originalMaxAge: age, expires: null };
        sessions[sid!] = JSON.stringify({ ...stored, cookie });
        const answer = await browser.run(session => session.get('user'));
        const own = answer.setCookies.find(header => header.startsWith('session_id='))!;
        expect(own.includes('Max-Age')).toBe(age !== null);
        expect(await browser.value(session => session.persistent)).toBe(age !== null);
        browser.close();
      });
    },
  );

  it('an age of which it has noted a millisecond less is what it was told', async () => {
    await withBoth(async (former, app) => {
      const { get } = former.store;
      const browser = await former.user(app.url);
      former.store.get = (sid, callback) =>
        get.call(former.store, sid, (error, session) => {
          if (session) {
            session.cookie.originalMaxAge = 7_199_999;
          }
          callback(error, session);
        });
      expect(await browser.value(session => session.timeout)).toBe(120);
    });
  });
});

describe('coming from express-session, in trouble', () => {
  it('storage trouble is not absence: while the old store fails, 503, and the user is logged in afterwards', async () => {
    await withBoth(async (former, app) => {
      const { get } = former.store;
      const browser = await former.user(app.url);
      former.store.get = (_sid, callback) => callback(new Error('connection lost'));
      const answer = await browser.run(session => session.get('user'));
      expect([answer.status, answer.setCookies]).toEqual([503, []]);
      former.store.get = get;
      expect(await browser.value(session => session.get('user'))).toEqual({ name: 'Ann' });
      expect((await sendRaw(`${app.url}/none/x`)).status).toBe(500); // the server lives
    });
  });

  it('no resurrection: where one has moved a session and died, the next removes the old one', async () => {
    await withBoth(async (former, app) => {
      const { destroy } = former.store;
      const browser = await former.user(app.url);
      const cookie = `connect.sid=${(await browser.cookie('connect.sid'))!}`;
      former.store.destroy = (_sid, callback) => callback?.(new Error('died'));
      expect((await browser.run(session => session.get('user'))).status).toBe(503);
      expect(await app.stored()).toBe(1);
      former.store.destroy = destroy;
      expect(await browser.value(session => session.get('user'))).toEqual({ name: 'Ann' });
      await browser.run(session => session.destroy());
      expect((await browser.run(session => session.size, 'run', { headers: { cookie } })).json()).toEqual({
        value: 0,
      });
      expect(await app.stored()).toBe(0);
    });
  });
});
