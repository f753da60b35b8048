import type { CartLine } from './cart/cart.service.js';

/** Shown once, on the next page. */
export interface Flash {
  tone: 'good' | 'bad';
  text: string;
}

declare module 'nest-sessions' {
  interface SessionData {
    cart?: CartLine[];
    flash?: Flash;
    /** Who has logged in, as they wrote it; `session.owner` is the account. */
    displayName?: string;
    /** The browser that logged in. */
    userAgent?: string;
    /** What the race counts. */
    raceCount?: number;
  }
}
