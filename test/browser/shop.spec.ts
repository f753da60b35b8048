import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  chromium,
  devices,
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  type Page,
} from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ADAPTERS } from '../support/app.js';
import { inLong } from '../support/long.js';
import { chromiumProgram } from '../support/server-binaries.js';
import { Shops, type OpenShop } from '../support/shop.js';
import { orAnother, STORAGES, type StorageName } from '../support/storage-names.js';

/** Where the README's pictures are; they are only taken when asked for. */
const PICTURES = process.env.TEST_PICTURES && join(import.meta.dirname, '../../docs/pictures');

const shops = new Shops();
let browser: Browser;
beforeAll(async () => {
  browser = await chromium.launch({
    executablePath: await chromiumProgram(),
    args: ['--no-sandbox', '--disable-gpu'],
  });
}, 120_000);
afterAll(() => browser?.close());

const add = (page: Page, cookie: string) =>
  page.getByRole('button', { name: `Add ${cookie} to the cart` }).click();

async function logIn(page: Page, url: string, name: string): Promise<void> {
  await page.goto(`${url}/account`);
  await page.getByLabel('Your name').fill(name);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByText(`Hello, ${name}`).waitFor();
}

const badgeOf = async (page: Page) => Number.parseInt((await page.locator('.badge').textContent()) ?? '', 10);

async function sessionCookie(context: BrowserContext) {
  return (await context.cookies()).find(({ name }) => name === 'session_id');
}

/** As the page shows it, once it has a verdict. */
async function race(page: Page, lane: 'locked' | 'unlocked'): Promise<number> {
  const panel = page.locator(`[data-race="/lab/race/${lane}"]`);
  await panel.getByRole('button').click();
  await panel.locator('[data-verdict]:not(:empty)').waitFor();
  return Number(await panel.locator('[data-counted]').textContent());
}

/** How often what happens at the same time is tried. */
const TURNS = inLong(5, 2);
/** A browser takes its time. */
const SHOWN = inLong<StorageName[]>(STORAGES, [orAnother('postgresql')]);

describe.each(SHOWN)('the shop in Chromium: %s', storage => {
  const adapter = ADAPTERS[STORAGES.indexOf(storage) % ADAPTERS.length]!;
  let shop: OpenShop;
  beforeAll(async () => {
    shop = await shops.open(storage, adapter);
  });
  afterAll(() => void shop.process.kill());

  it('a cart survives the log-in, a second tab and a new start of the browser', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(shop.url);
    await add(page, 'The Classic');
    await add(page, 'Midnight');
    const before = await sessionCookie(context);
    await logIn(page, shop.url, `Ann of ${storage}`);
    expect((await sessionCookie(context))!.value).not.toBe(before!.value);

    const tab = await context.newPage();
    await tab.goto(`${shop.url}/cart`);
    expect(await badgeOf(tab)).toBe(2);

    const kept = await context.storageState();
    await context.close();
    const again = await browser.newContext({ storageState: kept });
    const page2 = await again.newPage();
    await page2.goto(`${shop.url}/cart`);
    expect(await badgeOf(page2)).toBe(2);
    await again.close();
  });

  it('no lost update: two tabs that add at the same time both count', async () => {
    const context = await browser.newContext();
    const tabs = await Promise.all([context.newPage(), context.newPage()]);
    await tabs[0]!.goto(shop.url);
    await add(tabs[0]!, 'The Classic');
    await tabs[1]!.goto(shop.url);
    for (let turn = 0; turn < TURNS; turn++) {
      await Promise.all(tabs.map(tab => Promise.all([tab.waitForEvent('load'), add(tab, 'The Classic')])));
    }
    await tabs[0]!.goto(`${shop.url}/cart`);
    expect(await badgeOf(tabs[0]!)).toBe(1 + 2 * TURNS);
    await context.close();
  });

  it('two browsers have two carts', async () => {
    const contexts = await Promise.all([browser.newContext(), browser.newContext()]);
    const [one, two] = await Promise.all(contexts.map(context => context.newPage()));
    await one!.goto(shop.url);
    await add(one!, 'The Classic');
    await two!.goto(shop.url);
    expect(await two!.locator('.badge').count()).toBe(0);
    await Promise.all(contexts.map(context => context.close()));
  });

  it('no resurrection: logged out elsewhere is logged out here', async () => {
    const contexts = await Promise.all([browser.newContext(), browser.newContext()]);
    const [laptop, phone] = await Promise.all(contexts.map(context => context.newPage()));
    const name = `Bea of ${storage}`;
    await logIn(laptop!, shop.url, name);
    if (storage === 'memcached') {
      // It cannot list an account's sessions: the other tab of the same browser logs out.
      const tab = await contexts[0]!.newPage();
      await tab.goto(`${shop.url}/account`);
      await tab.getByRole('button', { name: 'Log out' }).click();
      await tab.getByText('You are logged out').waitFor();
    } else {
      await logIn(phone!, shop.url, name);
      await phone!.getByRole('button', { name: 'Log out all others' }).click();
      await phone!.getByText('1 other device is logged out.').waitFor();
    }
    await laptop!.reload();
    await laptop!.getByLabel('Your name').waitFor();
    await Promise.all(contexts.map(context => context.close()));
  });

  it('the race: 30 of 30 with the lock', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(`${shop.url}/lab`);
    for (let turn = 0; turn < TURNS; turn++) {
      expect(await race(page, 'locked')).toBe(30);
    }
    expect(await race(page, 'unlocked')).toBeGreaterThan(0);
    await context.close();
  });

  it('the cookie, as the browser has stored it', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(shop.url);
    expect(await sessionCookie(context)).toBeUndefined(); // looking around stores nothing
    await add(page, 'The Classic');
    const cookie = (await sessionCookie(context))!;
    expect(cookie).toMatchObject({
      domain: 'localhost',
      path: '/',
      httpOnly: true,
      secure: false,
      sameSite: 'Lax',
    });
    expect(cookie.value).toMatch(/^[\w-]{43}$/);
    expect(Math.abs(cookie.expires - Date.now() / 1000 - 3600)).toBeLessThan(60);
    expect(await page.evaluate('document.cookie')).toBe('');
    await context.close();
  });
});

describe.runIf(PICTURES)('pictures for the README', () => {
  it.each([
    ['cart-phone', { ...devices['iPhone 13'], deviceScaleFactor: 2, defaultBrowserType: undefined }],
    ['race-desktop', { viewport: { width: 1280, height: 800 } }],
  ])('%s', async (name, options) => {
    await mkdir(PICTURES!, { recursive: true });
    const shop = await shops.open('ram', 'express');
    const context = await browser.newContext(options as BrowserContextOptions);
    const page = await context.newPage();
    await page.goto(shop.url);
    await add(page, 'The Classic');
    await add(page, 'Midnight');
    if (name.startsWith('cart')) {
      await page.goto(`${shop.url}/cart`);
    } else {
      await page.goto(`${shop.url}/lab`);
      await race(page, 'locked');
      await race(page, 'unlocked');
      await page.evaluate('window.scrollTo(0, 0)');
    }
    await page.waitForTimeout(500); // until nothing moves any more
    await page.screenshot({ path: join(PICTURES!, `${name}.png`) });
    await context.close();
    shop.process.kill();
  });
});
