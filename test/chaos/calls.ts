import type { StorageName } from '../support/storage-names.js';
import type { Effect } from './history.js';

/** What a call of test/programs/chaos.controller.ts does to its session. */
export interface CallKind {
  /** How many tokens it adds. */
  tokens: number;
  /** How many of them are saved before its end. */
  midway?: number;
  effect?: Effect;
  /** It names the session by its id in the body, without a cookie. */
  byId?: boolean;
}

export const CALLS = {
  read: { tokens: 0 },
  look: { tokens: 0 },
  touch: { tokens: 0 },
  set: { tokens: 1 },
  nested: { tokens: 1 },
  'save-midway': { tokens: 2, midway: 1 },
  'save-unawaited': { tokens: 1, midway: 1 },
  release: { tokens: 1, midway: 1 },
  'req-session': { tokens: 1 },
  update: { tokens: 1, byId: true },
  merge: { tokens: 1 },
  'lock-explicitly': { tokens: 1, midway: 1 },
  fail: { tokens: 1 },
  regenerate: { tokens: 1, effect: 'move' },
  'log-in': { tokens: 1, effect: 'move' },
  destroy: { tokens: 0, effect: 'end' },
  'destroy-unlocked': { tokens: 0, effect: 'end' },
  'store-destroy': { tokens: 0, effect: 'end', byId: true },
} as const satisfies Record<string, CallKind>;

export type CallName = keyof typeof CALLS;
/** Of no session, or of several. */
export type OtherName = 'old-id' | 'destroy-by-owner';

type Weights = Partial<Record<CallName | OtherName, number>>;

const ORDINARY: Weights = {
  read: 10,
  look: 8,
  touch: 4,
  set: 14,
  nested: 12,
  'save-midway': 6,
  'save-unawaited': 4,
  release: 4,
  'req-session': 6,
  update: 6,
  merge: 10,
  'lock-explicitly': 4,
  fail: 2,
  regenerate: 4,
  'log-in': 2,
  destroy: 0.4,
  'destroy-unlocked': 0.2,
  'store-destroy': 0.4,
  'old-id': 4,
  'destroy-by-owner': 0.4,
};

/** How a run is mixed. */
export interface Profile {
  calls: Weights;
  /** How many sessions are in use at a time. */
  sessions: number;
  /** The share of sessions that begin with an owner. */
  owned: number;
  owners: number;
  /** The share of calls that take long, up to 1.5 s. */
  slow: number;
  /** Milliseconds between two troubles of a kind of troublemaker; undefined: no troubles. */
  pause: [from: number, to: number] | undefined;
  /** Which troubles come more often. */
  likely?: 'stalls' | 'networks';
}

const MIXED: Profile = {
  calls: ORDINARY,
  sessions: 10,
  owned: 0.5,
  owners: 5,
  slow: 0.02,
  pause: [300, 2000],
};

export const PROFILES = {
  mixed: MIXED,
  /** Above all stops, blocked event loops and half-open connections, and handlers that are at work meanwhile. */
  stalls: { ...MIXED, slow: 0.06, pause: [0, 800], likely: 'stalls' },
  /** Above all slow, half-open and cut connections, and sessions that change their ids meanwhile. */
  networks: { ...MIXED, calls: { ...ORDINARY, regenerate: 20 }, pause: [0, 800], likely: 'networks' },
  /** Without any trouble: nothing may be refused. */
  calm: { ...MIXED, pause: undefined },
  /** Sessions change their ids while others log out everywhere. */
  owners: {
    ...MIXED,
    calls: { regenerate: 60, set: 4, merge: 2, read: 4, 'log-in': 2, 'destroy-by-owner': 4, 'old-id': 2 },
    owned: 1,
    owners: 6,
    sessions: 24,
    slow: 0,
    pause: undefined,
  },
  /** Many at a time in few sessions, which end soon. */
  'log-outs': {
    ...MIXED,
    calls: { ...ORDINARY, look: 40, destroy: 0.5, 'destroy-unlocked': 1, 'store-destroy': 4 },
    sessions: 3,
    pause: undefined,
  },
} satisfies Record<string, Profile>;

export type ProfileName = keyof typeof PROFILES;

/** memcached knows no owners. */
export const hasOwners = (storage: StorageName): boolean => storage !== 'memcached';
