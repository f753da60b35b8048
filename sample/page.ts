import { applyDecorators, Get, Header } from '@nestjs/common';
import type { Session } from 'nest-sessions';
import { countOf } from './cart/cart.service.js';
import { readConfig } from './config.js';
import type { Html } from './views/html.js';
import { layout, type Tab } from './views/layout.js';
import { sessionPanel } from './views/session-panel.js';

/** `@Get()` of an HTML page, which shows one visitor's data and so is kept by no cache. */
export const Page = (path?: string) =>
  applyDecorators(
    Get(path),
    Header('Content-Type', 'text/html; charset=utf-8'),
    Header('Cache-Control', 'no-store'),
  );

/** A whole page. Takes the flash message out of the session: it is shown once. */
export function renderPage(session: Session, page: { title: string; tab: Tab; body: Html }): string {
  const flash = session.pop('flash', undefined);
  const cartCount = countOf(session.get('cart', []));
  const panel = sessionPanel(session, {
    storage: readConfig(process.env).storage,
    open: page.tab === 'lab',
  });
  return layout({ ...page, flash, cartCount, panel }).toString();
}
