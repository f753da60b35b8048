import type { Flash } from '../session-data.js';
import { html, type Html } from './html.js';
import { icon, type IconName } from './icons.js';

export type Tab = 'shop' | 'lab' | 'account' | 'cart';

const TABS: { tab: Tab; path: string; label: string; icon: IconName }[] = [
  { tab: 'shop', path: '/', label: 'Shop', icon: 'cookie' },
  { tab: 'lab', path: '/lab', label: 'Lab', icon: 'flask' },
  { tab: 'account', path: '/account', label: 'Account', icon: 'person' },
  { tab: 'cart', path: '/cart', label: 'Cart', icon: 'basket' },
];

export interface Layout {
  title: string;
  tab?: Tab;
  cartCount?: number;
  flash?: Flash | undefined;
  body: Html;
  panel?: Html;
}

export function layout({ title, tab, cartCount = 0, flash, body, panel }: Layout): Html {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover" />
        <meta name="color-scheme" content="light dark" />
        <title>${title} · Crumb</title>
        <link
          rel="icon"
          href="data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 100 100'><text y='.9em' font-size='90'>🍪</text></svg>"
        />
        <link rel="stylesheet" href="/assets/shop.css" />
      </head>
      <body>
        <a class="skip" href="#main">Skip to content</a>
        <header class="top">
          <a class="brand" href="/">${icon('cookie')} Crumb</a>
          <nav class="tabs" aria-label="Main">
            ${TABS.map(
              one => html`
                <a href="${one.path}" ${one.tab === tab && html`aria-current="page"`}>
                  ${icon(one.icon)}
                  <span>${one.label}</span>
                  ${one.tab === 'cart' && cartCount > 0 && badge(cartCount)}
                </a>
              `,
            )}
          </nav>
        </header>
        <main id="main" tabindex="-1">
          ${flash && html`<p class="flash ${flash.tone}" role="status">${flash.text}</p>`} ${body} ${panel}
        </main>
        <footer class="foot">
          A sample of <b>nest-sessions</b>. Nothing is for sale, everything is kept.
        </footer>
      </body>
    </html>`;
}

const badge = (count: number) =>
  html`<b class="badge">${count}<span class="unseen">${count === 1 ? ' cookie' : ' cookies'}</span></b>`;
