/** How this package is called among the contenders. */
export const OWN = 'nest-sessions';
/** What follows the name where it is another version. */
export const BEFORE = ', before';
/** How the contenders without any session are called. */
export const FLOOR = 'Nest alone';

/** What every contender keeps in a session: a user object and a cart. */
export interface ShopSession {
  user?: { id: number; name: string; email: string; roles: string[] };
  cart?: { sku: string; title: string; price: number; quantity: number }[];
  visits?: number;
}

/** Cart lines for sessions of about 1 KiB and 20 KiB of JSON. */
export const SIZES = { '1 KiB': 10, '20 KiB': 220 } as const;
export type Size = keyof typeof SIZES;

/** What bench/README.md describes. */
export const LOADS = ['untouched', 'read', 'read-only', 'write', 'new', 'hot', 'alone'];

export const makeUser = () => ({
  id: 4711,
  name: 'Ada Lovelace',
  email: 'ada@example.org',
  roles: ['customer', 'editor'],
});

export const makeCart = (lines: number) =>
  Array.from({ length: lines }, (_, index) => ({
    sku: `SKU-${10_000 + index}`,
    title: `Linzer torte, box number ${index}`,
    price: 1250 + index,
    quantity: (index % 3) + 1,
  }));

/** What every route answers. */
export interface Answer {
  name: string | undefined;
  lines: number | undefined;
  visits: number;
}

export const answerOf = ({ user, cart, visits = 0 }: ShopSession): Answer => ({
  name: user?.name,
  lines: cart?.length,
  visits,
});
