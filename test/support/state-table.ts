/**
 * What each call does in each state of a session in use. docs/ARCHITECTURE.md shows it, and
 * test/contract/state-table.spec.ts holds every storage to it. It was written from what users are promised, not from
 * the code.
 *
 * The stored session is { n: 1 }, and the request has set b to 2 but in `unread` and `answered`. A cell says what the
 * call gives, then the state, what is stored, `locked` where the storage has the lock as held, and `dropped` where the
 * request's change is gone from the live data.
 *
 * - ok; 1 (of `get('n')`); – (nothing); 409, 503: what the client is answered; unloaded: "await session.load()"; late:
 *   the session was used after the answer
 * - old: as before; new: with the change; none; theirs: another request's
 * - moved: under a new id, and nothing under the old one
 */
export const CALLS = [
  'get',
  'set',
  'data',
  'load',
  'save',
  'touch',
  'reload',
  'regenerate',
  'destroy',
  'expire',
  'acquireLock',
  'releaseLock',
  'commit',
  'close',
] as const;
export type CallName = (typeof CALLS)[number];

export interface StateRow {
  /** How a request comes to it. */
  comes: string;
  cells: Record<CallName, string>;
}

export const STATES = {
  unread: {
    comes: 'nothing was asked for yet',
    cells: {
      get: 'unloaded → unread, old',
      set: 'unloaded → unread, old',
      data: 'unloaded → unread, old',
      load: 'ok → held, old, locked',
      save: 'ok → held, old, locked',
      touch: 'ok → held, old, locked',
      reload: 'ok → held, old, locked',
      regenerate: 'ok → held, old, moved, locked',
      destroy: 'ok → new, none',
      expire: 'ok → unread, old',
      acquireLock: 'ok → held, old, locked',
      releaseLock: 'ok → unread, old',
      commit: 'ok → unread, old',
      close: 'ok → unread, old',
    },
  },
  new: {
    comes: 'no cookie, or an unknown id',
    cells: {
      get: '– → new, none',
      set: 'ok → new, none',
      data: '– → new, none',
      load: 'ok → new, none',
      save: 'ok → held, new, locked',
      touch: 'ok → new, none',
      reload: 'ok → new, none, dropped',
      regenerate: 'ok → new, none',
      destroy: 'ok → new, none, dropped',
      expire: 'ok → new, none',
      acquireLock: 'ok → new, none',
      releaseLock: 'ok → new, none',
      commit: 'ok → read, new',
      close: 'ok → new, none',
    },
  },
  read: {
    comes: 'the lock was given back, `implicit`',
    cells: {
      get: '1 → read, old',
      set: 'ok → read, old',
      data: '1 → read, old',
      load: 'ok → held, old, locked',
      save: 'ok → held, new, locked',
      touch: 'ok → read, old',
      reload: 'ok → read, old, dropped',
      regenerate: 'ok → held, old, moved, locked',
      destroy: 'ok → new, none, dropped',
      expire: 'ok → read, old',
      acquireLock: 'ok → held, old, locked',
      releaseLock: 'ok → read, old',
      commit: 'ok → read, new',
      close: 'ok → read, old',
    },
  },
  'read, explicit': {
    comes: 'read without the lock, `explicit`',
    cells: {
      get: '1 → read, old',
      set: 'ok → read, old',
      data: '1 → read, old',
      load: 'ok → read, old',
      save: 'ok → read, new',
      touch: 'ok → read, old',
      reload: 'ok → read, old, dropped',
      regenerate: 'ok → read, old, moved',
      destroy: 'ok → new, none, dropped',
      expire: 'ok → read, old',
      acquireLock: 'ok → held, old, locked',
      releaseLock: 'ok → read, old',
      commit: 'ok → read, new',
      close: 'ok → read, old',
    },
  },
  held: {
    comes: 'loaded under its lock',
    cells: {
      get: '1 → held, old, locked',
      set: 'ok → held, old, locked',
      data: '1 → held, old, locked',
      load: 'ok → held, old, locked',
      save: 'ok → held, new, locked',
      touch: 'ok → held, old, locked',
      reload: 'ok → held, old, locked, dropped',
      regenerate: 'ok → held, old, moved, locked',
      destroy: 'ok → new, none, dropped',
      expire: 'ok → held, old, locked',
      acquireLock: 'ok → held, old, locked',
      releaseLock: 'ok → read, new',
      commit: 'ok → read, new',
      close: 'ok → read, old',
    },
  },
  'ended, gone': {
    comes: 'another request destroyed it',
    cells: {
      get: '1 → ended, none',
      set: 'ok → ended, none',
      data: '1 → ended, none',
      load: 'ok → ended, none',
      save: '409 → ended, none',
      touch: '409 → ended, none',
      reload: '409 → ended, none',
      regenerate: '409 → ended, none',
      destroy: 'ok → new, none, dropped',
      expire: 'ok → ended, none',
      acquireLock: '409 → ended, none',
      releaseLock: 'ok → ended, none',
      commit: '409 → ended, none',
      close: 'ok → ended, none',
    },
  },
  'ended, lease lost': {
    comes: 'another request took it over',
    cells: {
      get: '1 → ended, theirs',
      set: 'ok → ended, theirs',
      data: '1 → ended, theirs',
      load: 'ok → ended, theirs',
      save: '503 → ended, theirs',
      touch: '503 → ended, theirs',
      reload: '503 → ended, theirs',
      regenerate: '503 → ended, theirs',
      destroy: 'ok → new, none, dropped',
      expire: 'ok → ended, theirs',
      acquireLock: '503 → ended, theirs',
      releaseLock: 'ok → ended, theirs',
      commit: '503 → ended, theirs',
      close: 'ok → ended, theirs',
    },
  },
  'ended, waited': {
    comes: 'it was destroyed while this request waited for the lock',
    cells: {
      get: '– → ended, none',
      set: 'ok → ended, none',
      data: '– → ended, none',
      load: 'ok → ended, none',
      save: '409 → ended, none',
      touch: '409 → ended, none',
      reload: '409 → ended, none',
      regenerate: 'ok → new, none',
      destroy: 'ok → new, none, dropped',
      expire: 'ok → ended, none',
      acquireLock: '409 → ended, none',
      releaseLock: 'ok → ended, none',
      commit: '409 → ended, none',
      close: 'ok → ended, none',
    },
  },
  'unsure, stored': {
    comes: 'a save failed, which was stored',
    cells: {
      get: '1 → unsure, new',
      set: 'ok → unsure, new',
      data: '1 → unsure, new',
      load: 'ok → held, new, locked',
      save: 'ok → held, new, locked',
      touch: 'ok → held, new, locked',
      reload: 'ok → held, new, locked',
      regenerate: 'ok → held, new, moved, locked',
      destroy: 'ok → new, none, dropped',
      expire: 'ok → unsure, new',
      acquireLock: 'ok → held, new, locked',
      releaseLock: 'ok → unsure, new',
      commit: 'ok → read, new',
      close: 'ok → unsure, new',
    },
  },
  'unsure, not stored': {
    comes: 'a save failed, which was not stored',
    cells: {
      get: '1 → unsure, old',
      set: 'ok → unsure, old',
      data: '1 → unsure, old',
      load: 'ok → held, old, locked',
      save: 'ok → held, new, locked',
      touch: 'ok → held, old, locked',
      reload: 'ok → held, old, locked, dropped',
      regenerate: 'ok → held, old, moved, locked',
      destroy: 'ok → new, none, dropped',
      expire: 'ok → unsure, old',
      acquireLock: 'ok → held, old, locked',
      releaseLock: 'ok → unsure, old',
      commit: 'ok → read, new',
      close: 'ok → unsure, old',
    },
  },
  answered: {
    comes: 'the answer has ended',
    cells: {
      get: 'late → answered, new',
      set: 'late → answered, new',
      data: 'late → answered, new',
      load: 'late → answered, new',
      save: 'late → answered, new',
      touch: 'late → answered, new',
      reload: 'late → answered, new',
      regenerate: 'late → answered, new',
      destroy: 'late → answered, new',
      expire: 'late → answered, new',
      acquireLock: 'late → answered, new',
      releaseLock: 'late → answered, new',
      commit: 'ok → answered, new',
      close: 'ok → answered, new',
    },
  },
} satisfies Record<string, StateRow>;
export type StateName = keyof typeof STATES;
export const STATE_NAMES = Object.keys(STATES) as StateName[];

/** The table as docs/ARCHITECTURE.md shows it, a line each. */
export function stateTableLines(): string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [
    line(['call', ...STATE_NAMES]),
    line(['---', ...STATE_NAMES.map(() => '---')]),
    line(['*comes when*', ...STATE_NAMES.map(name => STATES[name].comes)]),
    ...CALLS.map(call => line([`\`${call}\``, ...STATE_NAMES.map(name => STATES[name].cells[call])])),
  ];
}
