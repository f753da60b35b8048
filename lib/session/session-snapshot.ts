import type { SessionValues } from './session-data.js';

/** A session as it was stored at one moment; changing it stores nothing. */
export interface SessionSnapshot {
  readonly data: SessionValues;
  readonly owner: string | undefined;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  /** When it was stored or touched last; with `touchAfter`, it may have been used up to that much later. */
  readonly lastUsedAt: Date;
}

/** One of several sessions. */
export interface OwnedSession extends SessionSnapshot {
  /** Names the session without being its id: for `destroyByOwner(owner, { only })`, e.g. in a form. */
  readonly key: string;
  /** Whether it is the session of the request in flight. */
  readonly current: boolean;
}

/** Some of all sessions. */
export interface SessionPage {
  readonly sessions: OwnedSession[];
  /** What `list` takes for the next page; undefined: this is the last one. */
  readonly next: string | undefined;
}
