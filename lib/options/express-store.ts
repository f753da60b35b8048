type Callback<T = void> = (error?: any, result?: T) => void;

/** A session as express-session hands it to a store. */
export interface ExpressStoredSession {
  cookie: {
    /** Milliseconds. */
    originalMaxAge?: number | null;
    maxAge?: number | null;
    expires?: Date | string | null | false;
    [attribute: string]: unknown;
  };
  [key: string]: unknown;
}

/** What is needed of a store that was written for express-session. */
export interface ExpressStore {
  get(sid: string, callback: (error?: any, session?: any) => void): unknown;
  set(sid: string, session: any, callback: Callback): unknown;
  destroy(sid: string, callback: Callback): unknown;
  touch?(sid: string, session: any, callback: Callback): unknown;
  /** For `'connect'` and `'disconnect'`. */
  on?(event: any, listener: () => void): unknown;
}
