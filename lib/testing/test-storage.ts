import type { SessionBackend } from '../storage/session-backend.js';

/** A storage that was opened for one test. */
export interface TestStorage {
  /** Two clients of one storage, as two processes have. Where only one is possible, it is there twice. */
  clients: [SessionBackend, SessionBackend];
  /** The storage removes by itself what has expired, so that a sweep finds nothing. Default false. */
  sweepsItself?: boolean;
  /** Closes the clients and removes what was stored. */
  close(): Promise<void>;
}
