import { once } from 'node:events';
import { CookieJar } from 'tough-cookie';
import { describe, expect, it } from 'vitest';
import { SETUPS } from '../support/app.js';
import { Shops } from '../support/shop.js';

const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0';
const IPHONE =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1';

const shops = new Shops();

/** One browser without JavaScript: forms, redirects and cookies. */
class Visitor {
  private readonly jar = new CookieJar();

  constructor(
    readonly base: string,
    private readonly userAgent: string,
  ) {}

  async fetch(path: string, form?: Record<string, string>): Promise<Response> {
    const url = this.base + path;
    const response = await fetch(url, {
      headers: { cookie: await this.jar.getCookieString(url), 'user-agent': this.userAgent },
      redirect: 'manual',
      ...(form && { method: 'POST', body: new URLSearchParams(form) }),
    });
    for (const cookie of response.headers.getSetCookie()) {
      await this.jar.setCookie(cookie, url);
    }
    return response;
  }

  async read(path: string): Promise<string> {
    const response = await this.fetch(path);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
    const page = await response.text();
    const id = await this.sessionId();
    if (id !== undefined) {
      expect(page).not.toContain(id);
    }
    expect(page).not.toContain(shops.databaseUrl.password);
    return page;
  }

  /** Sends a form. @returns the page that the shop redirects to */
  async submit(path: string, form: Record<string, string> = {}): Promise<string> {
    const response = await this.fetch(path, form);
    expect(response.status).toBe(303);
    return this.read(response.headers.get('location')!);
  }

  /** As the page's script does. @returns how many of 30 parallel increments count */
  async race(path: string): Promise<number> {
    await this.fetch('/lab/race/reset', {});
    const answers = await Promise.all(Array.from({ length: 30 }, () => this.fetch(path, {})));
    expect(answers.map(answer => answer.status)).toEqual(Array(30).fill(204));
    const { count } = (await (await this.fetch('/lab/race/count')).json()) as { count: number };
    return count;
  }

  async sessionId(): Promise<string | undefined> {
    return (await this.jar.getCookies(this.base)).find(cookie => cookie.key === 'session_id')?.value;
  }
}

const text = (page: string): string => page.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ');

describe.concurrent('the sample shop', () => {
  for (const { storage, adapter } of SETUPS) {
    it(`keeps a cart, an account, its devices and a count: ${storage}, ${adapter}`, async () => {
      const { process: shop, url, line, words } = await shops.open(storage, adapter);
      expect(line).toBe(`The shop is open: ${url} (${adapter}, sessions in ${words})\n`);
      const laptop = new Visitor(url, FIREFOX);
      const phone = new Visitor(url, IPHONE);
      const name = `<b>Ann, ${adapter}</b>`; // an account of this test's own

      await lookAround(laptop);
      expect(text(await laptop.read('/lab'))).toContain(`storage ${words}`);
      await fillCart(laptop);
      await logIn(laptop, name);
      await (storage === 'memcached' ? seeNoDevices(laptop, phone, name) : endDevices(laptop, phone, name));

      // The race: the lock loses nothing.
      expect(await phone.race('/lab/race/locked')).toBe(30);
      expect(await phone.race('/lab/race/unlocked')).toBeGreaterThan(0);

      await logOut(phone);
      const ended = once(shop, 'exit');
      shop.kill('SIGTERM');
      expect(await ended).toEqual([null, 'SIGTERM']);
    });
  }

  it.each([
    [{ STORAGE: 'floppy' }, "STORAGE must be ram, file, postgresql, memcached or redis, not 'floppy'"],
    [{ ADAPTER: 'koa' }, "ADAPTER must be express or fastify, not 'koa'"],
    [{ PORT: 'http' }, "PORT must be a whole number from 0 to 65535, not 'http'"],
    [
      { STORAGE: 'postgresql' },
      'DATABASE_URL is missing; STORAGE=postgresql needs it, e.g. DATABASE_URL=postgres://user:password@localhost:5432/database',
    ],
    [
      { STORAGE: 'memcached' },
      'MEMCACHED_SERVERS is missing; STORAGE=memcached needs it, e.g. MEMCACHED_SERVERS=localhost:11211',
    ],
    [
      { STORAGE: 'redis' },
      'REDIS_URL is missing; STORAGE=redis needs it, e.g. REDIS_URL=redis://localhost:6379',
    ],
    [
      { STORAGE: 'postgresql', DATABASE_URL: 'postgres://ann:open-sesame@127.0.0.1:1/shop' },
      'PostgreSQL cannot be reached: connect ECONNREFUSED 127.0.0.1:1; is a server running at the host and port in url',
    ],
    [
      { STORAGE: 'memcached', MEMCACHED_SERVERS: '127.0.0.1:1' },
      'memcached cannot be reached: connect ECONNREFUSED 127.0.0.1:1; check servers (127.0.0.1:1)',
    ],
    [
      { STORAGE: 'redis', REDIS_URL: 'redis://ann:open-sesame@127.0.0.1:1' },
      'Redis cannot be reached: connect ECONNREFUSED 127.0.0.1:1; is a server running at the host and port in url',
    ],
  ])('says in one line what keeps it from opening: %j', async (env, message) => {
    const child = shops.run(env as Record<string, string>);
    let output = '';
    child.stdout!.on('data', chunk => {
      output += chunk;
    });
    child.stderr!.on('data', chunk => {
      output += chunk;
    });
    expect(await once(child, 'close')).toEqual([1, null]);
    expect(output).toBe(`The shop cannot open: ${message}\n`);
  });
});

/** It leaves nothing behind. */
async function lookAround(visitor: Visitor): Promise<void> {
  await visitor.read('/');
  expect((await visitor.fetch('/assets/shop.css')).status).toBe(200);
  expect(await visitor.sessionId()).toBeUndefined();
}

async function fillCart(visitor: Visitor): Promise<void> {
  expect(await visitor.submit('/cart/classic/add')).toContain('The Classic is in your cart.');
  expect(await visitor.read('/')).not.toContain('is in your cart.'); // a message is shown once
  await visitor.submit('/cart/star/add');
  await visitor.submit('/cart/midnight/add');
  await visitor.submit('/cart/classic/change', { by: '1' });
  expect(text(await visitor.submit('/cart/midnight/remove'))).toContain('Total €8.50');
  expect((await visitor.fetch('/cart/none/add', {})).status).toBe(404);
}

/** It changes the id and keeps the cart. */
async function logIn(visitor: Visitor, name: string): Promise<void> {
  const idBefore = await visitor.sessionId();
  const welcome = await visitor.submit('/account/login', { name });
  expect(welcome).toContain(`Welcome, ${name.replaceAll('<', '&#60;').replaceAll('>', '&#62;')}.`);
  expect(welcome).not.toContain('<b>Ann');
  expect(await visitor.sessionId()).not.toBe(idBefore);
  expect(text(await visitor.read('/cart'))).toContain('Total €8.50');
}

async function endDevices(laptop: Visitor, phone: Visitor, name: string): Promise<void> {
  // A second device, and a third that is logged out alone.
  const tablet = new Visitor(laptop.base, 'Tablet/1.0');
  await tablet.submit('/account/login', { name: name.toLowerCase() });
  const devices = await phone.submit('/account/login', { name: name.toUpperCase() });
  expect(text(devices)).toMatch(/Firefox on Linux Since .* Tablet Since .* Safari on iPhone this device/);
  const keys = [...devices.matchAll(/name="key" value="([^"]+)"/g)].map(match => match[1]!);
  expect(keys).toHaveLength(2);
  expect(await phone.submit('/account/devices/end', { key: keys[1]! })).not.toContain('Tablet');
  expect(await tablet.read('/account')).toContain('Your name');
  expect(await laptop.read('/account')).toContain('My devices');
  expect((await phone.fetch('/account/devices/end', {})).status).toBe(303);
  expect(await laptop.read('/account')).toContain('My devices');

  // The phone logs out all others.
  expect(await phone.submit('/account/devices/end-others')).toContain('1 other device is logged out.');
  expect(await laptop.read('/account')).toContain('Your name');
  expect(text(await laptop.read('/cart'))).toContain('Nothing in here yet.');
  expect((await laptop.fetch('/account/devices/end-others', {})).status).toBe(401);
}

/** A storage without lists says so, and is not asked to end what it cannot find. */
async function seeNoDevices(laptop: Visitor, phone: Visitor, name: string): Promise<void> {
  const page = await phone.submit('/account/login', { name });
  expect(text(page)).toContain('This storage keeps no list of devices');
  expect(page).toContain('action="/account/logout"');
  expect(page).not.toContain('action="/account/devices');
  const refused = await phone.fetch('/account/devices/end-others', {});
  expect(refused.status).toBe(501);
  expect(await refused.text()).toContain('Our session storage cannot do that');
  expect(await laptop.read('/account')).toContain('My devices');
}

/** It leaves nothing but a message. */
async function logOut(visitor: Visitor): Promise<void> {
  await visitor.submit('/cart/linzer/add');
  const idLoggedIn = await visitor.sessionId();
  expect(await visitor.submit('/account/logout')).toContain('You are logged out.');
  expect(await visitor.sessionId()).not.toBe(idLoggedIn);
  expect(text(await visitor.read('/cart'))).toContain('Nothing in here yet.');
}
