import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { CookieJar } from 'tough-cookie';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ADAPTERS } from '../support/app.js';

const ROOT = resolve(import.meta.dirname, '../..');
const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0';
const IPHONE =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1';

/** A copy of the project, built as `npm start` does; the real dist may be in use by others. */
let project: string;
let shop: ChildProcess | undefined;

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'nest-sessions-shop-'));
  for (const name of [
    'lib',
    'sample',
    'package.json',
    'nest-cli.json',
    'tsconfig.json',
    'tsconfig.build.json',
  ]) {
    await cp(join(ROOT, name), join(project, name), {
      recursive: true,
      filter: source => !source.endsWith('dist'),
    });
  }
  await symlink(join(ROOT, 'node_modules'), join(project, 'node_modules'), 'dir');
  const nest = join('node_modules', '@nestjs', 'cli', 'bin', 'nest.js');
  for (const name of ['nest-sessions', 'sample']) {
    await promisify(execFile)(process.execPath, [nest, 'build', name], { cwd: project });
  }
}, 180_000);

afterEach(async () => {
  if (shop?.exitCode === null && shop.signalCode === null) {
    shop.kill('SIGKILL');
    await once(shop, 'exit');
  }
});
afterAll(() => rm(project, { recursive: true, force: true }));

function run(env: Record<string, string>): ChildProcess {
  shop = spawn(process.execPath, ['sample/dist/main.js'], {
    cwd: project,
    env: { ...process.env, PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return shop;
}

/** @returns what it prints when it is ready */
async function openShop(env: Record<string, string>): Promise<string> {
  const child = run(env);
  let output = '';
  return new Promise((done, fail) => {
    child.stdout!.on('data', chunk => {
      output += chunk;
      if (output.includes('\n')) {
        done(output);
      }
    });
    child.stderr!.on('data', chunk => {
      output += chunk;
    });
    child.once('exit', code => fail(new Error(`The shop ended with ${code}: ${output}`)));
  });
}

/** One browser without JavaScript: forms, redirects and cookies. */
class Visitor {
  private readonly jar = new CookieJar();

  constructor(
    private readonly base: string,
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

for (const storage of ['ram', 'file']) {
  for (const adapter of ADAPTERS) {
    describe(`the sample shop: ${storage}, ${adapter}`, () => {
      it('keeps a cart, an account, its devices and a count', async () => {
        const line = await openShop({
          STORAGE: storage,
          ADAPTER: adapter,
          STORAGE_PATH: join(project, 'sessions', adapter),
        });
        expect(line).toContain(adapter);
        expect(line).toMatch(storage === 'ram' ? /sessions in RAM/ : /sessions in files under /);
        const url = `http://127.0.0.1:${/http:\/\/localhost:(\d+)/.exec(line)![1]}`;
        const laptop = new Visitor(url, FIREFOX);
        const phone = new Visitor(url, IPHONE);

        // A look around leaves nothing behind.
        await laptop.read('/');
        expect((await laptop.fetch('/assets/shop.css')).status).toBe(200);
        expect(await laptop.sessionId()).toBeUndefined();

        // The cart; a message once.
        expect(await laptop.submit('/cart/classic/add')).toContain('The Classic is in your cart.');
        expect(await laptop.read('/')).not.toContain('is in your cart.');
        await laptop.submit('/cart/star/add');
        await laptop.submit('/cart/midnight/add');
        await laptop.submit('/cart/classic/change', { by: '1' });
        expect(text(await laptop.submit('/cart/midnight/remove'))).toContain('Total €8.50');
        expect((await laptop.fetch('/cart/none/add', {})).status).toBe(404);

        // Logging in changes the id and keeps the cart.
        const idBefore = await laptop.sessionId();
        const welcome = await laptop.submit('/account/login', { name: '<b>Ann</b>' });
        expect(welcome).toContain('Welcome, &#60;b&#62;Ann&#60;/b&#62;.');
        expect(welcome).not.toContain('<b>Ann');
        expect(await laptop.sessionId()).not.toBe(idBefore);
        expect(text(await laptop.read('/cart'))).toContain('Total €8.50');

        // A second device, and a third that is logged out alone.
        const tablet = new Visitor(url, 'Tablet/1.0');
        await tablet.submit('/account/login', { name: '<b>ann</b>' });
        const devices = await phone.submit('/account/login', { name: '<b>ANN</b>' });
        expect(text(devices)).toMatch(
          /Firefox on Linux Since .* Tablet Since .* Safari on iPhone this device/,
        );
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

        // The race: the lock loses nothing.
        expect(await phone.race('/lab/race/locked')).toBe(30);
        console.log(`counted without the lock: ${await phone.race('/lab/race/unlocked')} of 30`);

        // Logging out leaves nothing but a message.
        await phone.submit('/cart/linzer/add');
        const idLoggedIn = await phone.sessionId();
        expect(await phone.submit('/account/logout')).toContain('You are logged out.');
        expect(await phone.sessionId()).not.toBe(idLoggedIn);
        expect(text(await phone.read('/cart'))).toContain('Nothing in here yet.');

        const ended = once(shop!, 'exit');
        shop!.kill('SIGTERM');
        expect(await ended).toEqual([null, 'SIGTERM']);
      });
    });
  }
}

describe('the sample shop', () => {
  it.each([
    ['STORAGE', 'floppy', 'STORAGE must be ram or file'],
    ['ADAPTER', 'koa', 'ADAPTER must be express or fastify'],
    ['PORT', 'http', 'PORT must be a whole number from 0 to 65535'],
  ])('says what is wrong with %s=%s', async (name, value, message) => {
    const child = run({ [name]: value });
    let output = '';
    child.stderr!.on('data', chunk => {
      output += chunk;
    });
    expect(await once(child, 'close')).toEqual([1, null]);
    expect(output).toBe(`The shop cannot open: ${message}, not '${value}'\n`);
  });
});
